"""The adapter for the Gemini API. Its SDK weighs 40 MB, so it is loaded where calls are made, and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from generation.channels.adapter import Checked, Credentials, Option
from generation.contract import Answer, Call


class GeminiAdapter:
    """The Gemini API with a key of Google AI Studio, or whatever speaks like it at another base URL."""

    kind = "gemini"
    needs_secret = True
    abilities = frozenset({"grounding", "thinking", "history", "seed"})
    lanes = frozenset({"standard", "flex"})
    options: Mapping[str, Option] = {}

    def load(self) -> None:
        from generation.channels.adapters.google import calls  # noqa: F401

    async def generate(self, call: Call, credentials: Credentials) -> Answer:
        """Make one call. Raises ChannelError; asyncio.CancelledError passes through."""
        from generation.channels.adapters.google import calls

        return await calls.generate(call, credentials)

    async def check(self, credentials: Credentials, spool: Path) -> Checked | None:
        """Ask which models there are. Raises ChannelError."""
        from generation.channels.adapters.google import calls

        return await calls.check(credentials, spool)
