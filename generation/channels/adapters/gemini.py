"""The adapter for the Gemini API. Its SDK weighs 40 MB, so it is loaded where calls are made, and nowhere else."""

from __future__ import annotations

from generation.channels.adapter import Credentials
from generation.contract import Answer, Call


class GeminiAdapter:
    """The Gemini API with a key of Google AI Studio, or whatever speaks like it at another base URL."""

    kind = "gemini"
    needs_secret = True

    def load(self) -> None:
        from generation.channels.adapters import gemini_calls  # noqa: F401

    async def generate(self, call: Call, credentials: Credentials) -> Answer:
        """Make one call. Raises ChannelError; asyncio.CancelledError passes through."""
        from generation.channels.adapters import gemini_calls

        return await gemini_calls.generate(call, credentials)
