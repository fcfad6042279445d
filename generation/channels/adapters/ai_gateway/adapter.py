"""The adapter for Vercel's AI Gateway in its native protocol, and for whatever speaks like it at another base URL."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from generation.channels.adapter import Checked, Credentials, Option
from generation.channels.adapters.ai_gateway import calls
from generation.contract import Answer, Call


class AiGatewayAdapter:
    """Language models that draw, and image models, at the routes the AI SDK calls."""

    kind = "ai_gateway"
    needs_secret = True
    abilities = frozenset({"history", "seed", "thinking", "mask"})
    lanes = frozenset({"standard"})
    options: Mapping[str, Option] = {
        "only": Option("The only providers the gateway may use, separated by commas (vertex,google). Empty: any."),
    }

    def load(self) -> None:
        """Nothing that is not loaded anyway."""

    async def generate(self, call: Call, credentials: Credentials) -> Answer:
        """Make one call. Raises ChannelError; asyncio.CancelledError passes through."""
        return await calls.generate(call, credentials)

    async def check(self, credentials: Credentials, spool: Path) -> Checked | None:
        """Ask which models there are, and what credit is left. Raises ChannelError."""
        return await calls.check(credentials, spool)
