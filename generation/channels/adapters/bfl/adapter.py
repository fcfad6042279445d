"""The adapter for the FLUX models at Black Forest Labs, who are asked once and then looked in on until it is done."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from generation.channels.adapter import Checked, Credentials, Option
from generation.channels.adapters.bfl import calls
from generation.contract import Answer, Call


class BflAdapter:
    """The API of Black Forest Labs. Work that an earlier attempt left running there is followed, not sent again."""

    kind = "bfl"
    needs_secret = True
    abilities = frozenset({"seed", "mask"})
    lanes = frozenset({"standard"})
    options: Mapping[str, Option] = {}

    def load(self) -> None:
        """Nothing that is not loaded anyway."""

    async def generate(self, call: Call, credentials: Credentials) -> Answer:
        """Make one call. Raises ChannelError; asyncio.CancelledError passes through."""
        return await calls.generate(call, credentials)

    async def check(self, credentials: Credentials, spool: Path) -> Checked | None:
        """Ask what credits are left. Raises ChannelError."""
        return await calls.check(credentials, spool)
