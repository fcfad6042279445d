"""What every adapter offers: one coroutine that makes one call, and nothing that retries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from generation.contract import Answer, Call


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
