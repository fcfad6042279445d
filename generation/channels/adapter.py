"""What every adapter offers: one coroutine that makes one call, and nothing that retries."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from generation.contract import Answer, Call, ChannelError


@dataclass(frozen=True, slots=True)
class Option:
    """A setting of a channel that only its adapter knows. The first of `choices` is the default; none = any text."""

    help: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Credentials:
    """Where and as whom to call, and the channel's settings. An empty `base_url` means the provider's own origin."""

    secret: str
    base_url: str = ""
    options: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Credentials(base_url={self.base_url!r})"


@dataclass(frozen=True, slots=True)
class Checked:
    """What a provider says for nothing: the models it offers, in its own words, and what money is left there, in
    micro-dollars. None is what it does not say."""

    models: frozenset[str] | None = None
    balance_micros: int | None = None


class Adapter(Protocol):
    """One kind of road to a provider.

    `generate` runs on the process's upstream event loop. It begins at most one piece of paid work, ends within
    `call.deadline_seconds`, and either returns a complete `Answer` or raises `ChannelError`. A refusal by the
    provider is an `Answer`, not an error.

    `abilities` are the things a request may ask for beside a prompt and references: "grounding", "thinking", "history"
    (a model's own turns are sent back with their signatures), "seed", "mask". A request that needs one of the first
    two, or a mask, takes no other road. `lanes` are those it can run.
    """

    kind: str
    needs_secret: bool
    abilities: frozenset[str]
    lanes: frozenset[str]
    options: Mapping[str, Option]

    def load(self) -> None:
        """Import what calls need and a process that makes none can do without."""

    async def generate(self, call: Call, credentials: Credentials) -> Answer: ...

    async def check(self, credentials: Credentials, spool: Path) -> Checked | None:
        """Ask what costs nothing, with the channel's own credentials. None: there is nobody to ask.

        Raises ChannelError as `generate` does, never of the kind "unknown".
        """


@dataclass(frozen=True, slots=True)
class JobItem:
    """One image of a job: `key` finds its result again."""

    key: str
    call: Call


JobState = Literal["running", "ended", "failed", "expired", "canceled"]


@dataclass(frozen=True, slots=True)
class JobStatus:
    """How a job is doing. Only one that has `ended` has results, for all of its items or for some of them."""

    name: str
    state: JobState
    message: str = ""


class BatchAdapter(Protocol):
    """A road that takes images by the job and answers within a day.

    All of it runs on the process's upstream event loop, and raises ChannelError as `Adapter.generate` does. A job is
    found again by its display name: creating is not idempotent, and its answer can be lost.
    """

    kind: str

    async def create(
        self, display_name: str, upstream_model: str, items: Sequence[JobItem], credentials: Credentials
    ) -> str:
        """Begin a job; its name upstream. The kind of error is that of the request that creates it: "unknown" where
        the job may exist, anything else where it surely does not."""

    async def find(self, display_name: str, credentials: Credentials) -> Sequence[str]:
        """The names of the jobs with this display name, the oldest first."""

    async def look(self, name: str, credentials: Credentials) -> JobStatus:
        """How a job is doing."""

    def results(
        self, name: str, credentials: Credentials, spool: Path
    ) -> AsyncIterator[tuple[str, Answer | ChannelError]]:
        """What became of the items, one after another and in any order, each with its key.

        An item's image lies in a file of its own that the reader removes or keeps. Keys that nobody asked for, and
        results that cannot be read, come as they are: the reader knows what to do with them.
        """

    async def cancel(self, name: str, credentials: Credentials) -> None:
        """Ask for a job to be given up."""
