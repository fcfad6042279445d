"""What every adapter offers: one coroutine that makes one call, and nothing that retries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from generation.contract import Answer, Call


@dataclass(frozen=True, slots=True)
class Credentials:
    """Where and as whom to call. An empty `base_url` means the provider's own origin."""

    secret: str
    base_url: str = ""

    def __repr__(self) -> str:
        return f"Credentials(base_url={self.base_url!r})"


class Adapter(Protocol):
    """One kind of road to a provider.

    `generate` runs on the process's upstream event loop. It makes exactly one upstream call, ends within
    `call.deadline_seconds`, and either returns a complete `Answer` or raises `ChannelError`. A refusal by the
    provider is an `Answer`, not an error.
    """

    kind: str
    needs_secret: bool

    def load(self) -> None:
        """Import what calls need and a process that makes none can do without."""

    async def generate(self, call: Call, credentials: Credentials) -> Answer: ...
