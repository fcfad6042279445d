"""The adapter for Google's Gemini Batch API. It is loaded where jobs are sent, as the Gemini adapter is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path

from generation.channels.adapter import Checked, Credentials, JobItem, JobStatus, Option
from generation.contract import Answer, Call, ChannelError


class GeminiBatchAdapter:
    """Jobs with a key of Google AI Studio: half the price, within a day."""

    kind = "gemini_batch"
    needs_secret = True
    abilities = frozenset({"grounding", "thinking", "history", "seed"})
    lanes = frozenset({"batch"})
    options: Mapping[str, Option] = {}

    def load(self) -> None:
        from generation.channels.adapters.google import batch_calls, batch_results  # noqa: F401

    async def generate(self, call: Call, credentials: Credentials) -> Answer:
        """This road takes jobs only."""
        raise ChannelError("rejected", "this kind of channel takes jobs only")

    async def check(self, credentials: Credentials, spool: Path) -> Checked | None:
        """Ask which models there are. Raises ChannelError."""
        from generation.channels.adapters.google import calls

        return await calls.check(credentials, spool)

    async def create(
        self, display_name: str, upstream_model: str, items: Sequence[JobItem], credentials: Credentials
    ) -> str:
        """Begin a job: inline where it is small, else from a file that is uploaded before."""
        from generation.channels.adapters.google import batch_calls

        return await batch_calls.create(display_name, upstream_model, items, credentials)

    async def find(self, display_name: str, credentials: Credentials) -> Sequence[str]:
        """The names of the jobs with this display name, the oldest first."""
        from generation.channels.adapters.google import batch_calls

        return await batch_calls.find(display_name, credentials)

    async def look(self, name: str, credentials: Credentials) -> JobStatus:
        """How a job is doing."""
        from generation.channels.adapters.google import batch_calls

        return await batch_calls.look(name, credentials)

    async def results(
        self, name: str, credentials: Credentials, spool: Path
    ) -> AsyncIterator[tuple[str, Answer | ChannelError]]:
        """What became of the items: those of a small job are taken in at once, those of a file one by one."""
        from generation.channels.adapters.google import batch_results

        async with aclosing(batch_results.each(name, credentials, spool)) as results:
            async for result in results:
                yield result

    async def cancel(self, name: str, credentials: Credentials) -> None:
        """Ask for a job to be given up."""
        from generation.channels.adapters.google import batch_calls

        await batch_calls.cancel(name, credentials)
