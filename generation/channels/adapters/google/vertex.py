"""The adapter for Vertex AI. Its SDK weighs 40 MB, so it is loaded where calls are made, and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from generation.channels.adapter import Checked, Credentials, Option
from generation.contract import Answer, Call


class VertexAdapter:
    """Vertex AI with a service account or with an API key of express mode; Gemini image models and Imagen."""

    kind = "vertex"
    needs_secret = True
    abilities = frozenset({"grounding", "thinking", "history", "seed"})
    lanes = frozenset({"standard", "flex"})
    options: Mapping[str, Option] = {
        "project": Option("The Google Cloud project. A service account needs one, an API key has its own."),
        "location": Option(
            "Where a service account's calls go; global if empty. The flex lane and Gemini 3 are there only."
        ),
    }

    def load(self) -> None:
        from generation.channels.adapters.google import vertex_calls  # noqa: F401

    async def generate(self, call: Call, credentials: Credentials) -> Answer:
        """Make one call. Raises ChannelError; asyncio.CancelledError passes through."""
        from generation.channels.adapters.google import vertex_calls

        return await vertex_calls.generate(call, credentials)

    async def check(self, credentials: Credentials, spool: Path) -> Checked | None:
        """Ask which models there are, with a token of the service account where there is one. Raises ChannelError."""
        from generation.channels.adapters.google import vertex_calls

        return await vertex_calls.check(credentials, spool)
