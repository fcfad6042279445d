"""Adapters that speak HTTP, each with the stand-in it is tried against, and a live channel that leads to it.

An adapter to come is one more line of SPEAKERS; its stand-in plays the same faults under the same names.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from django.db.models import Sum

from generation import submission
from generation.channels.fakes.faults import NAMES
from generation.channels.fakes.gemini import FakeGemini, Fault
from generation.channels.models import Channel
from generation.contract import GenerationRequest
from generation.models import Attempt, Charge, Cost, Media
from tests.faults.pictures import Picture, delivered, failed

SECRET = "AIzaSyTheSecretOfTheLiveChannel01234567"
# What Alice's live wallet starts with, and what a 1K image costs her.
START_MICROS, PRICE_MICROS = 10_000_000, 147_400
UNKNOWN, OK = ("unknown", "unknown"), ("ok", "")


class Fake(Protocol):
    """A stand-in for a provider: faults go in by script or by request, requests come out."""

    script: list[Any]
    fault_for: Callable[[Any], Any] | None
    requests: list[Any]
    abandoned_count: int
    base_url: str

    def start(self) -> None: ...

    def stop(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Speaker:
    """An adapter that speaks HTTP. `fault(name, argument, **hints)` makes what its stand-in's script takes.

    `names` are all the faults it plays.
    """

    fake: Callable[[], Fake]
    fault: Callable[..., Any]
    names: frozenset[str]


SPEAKERS: Mapping[str, Speaker] = {
    "gemini": Speaker(lambda: FakeGemini(cached=True), Fault, NAMES),
}


@dataclass(frozen=True, slots=True)
class Health:
    """What a channel's row says after its calls."""

    failures: int
    is_off: bool
    has_succeeded: bool


class Upstream:
    """A live channel to a stand-in, and the person whose prompts take it."""

    def __init__(self, kind: str, fake: Fake, person: Any, queue: Any, spool: Path) -> None:
        self.kind, self.speaker, self.fake = kind, SPEAKERS[kind], fake
        self.person, self.queue, self.spool = person, queue, spool
        self.channel = self.road_to(fake.base_url, name="upstream", priority=1)

    def road_to(self, base_url: str, *, name: str, priority: int) -> Channel:
        """Another live channel of the same kind."""
        channel = Channel(name=name, kind=self.kind, mode="live", priority=priority, base_url=base_url)
        channel.set_secret(SECRET)
        channel.save()
        return channel

    def lead_to(self, base_url: str) -> None:
        """Point the channel elsewhere."""
        Channel.objects.filter(pk=self.channel.pk).update(base_url=base_url)

    def fault(self, name: str, argument: str = "", **hints: Any) -> Any:
        return self.speaker.fault(name, argument, **hints)

    def play(self, *faults: Any) -> None:
        """Faults of the next requests, one each; None plays none."""
        self.fake.script[:] = faults

    def always(self, fault: Any) -> None:
        """The same fault for every request from now on."""
        self.fake.fault_for = lambda _request: fault

    def ask(self, *, image_size: str = "1K", **fields: Any) -> uuid.UUID:
        """Accept a prompt in live mode; answers the generation's id."""
        request = GenerationRequest(prompt="a lighthouse", image_size=image_size, **fields)
        return submission.accept(self.person.requester("live"), request, now=datetime.now(UTC)).generation_id

    def make(self, **fields: Any) -> uuid.UUID:
        """Ask, and let workers and sweeper go on until it has ended."""
        generation_id = self.ask(**fields)
        self.queue.run_to_the_end()
        return generation_id

    def quote(self, *, image_size: str = "1K", **fields: Any) -> int:
        request = GenerationRequest(prompt="a lighthouse", image_size=image_size, **fields)
        return submission.quote(self.person.requester("live"), request, now=datetime.now(UTC)).total_micros

    def failed(self, code: str, attempts: list[tuple[str, str]]) -> Picture:
        """What one output that failed for free must look like, whatever was delivered before it."""
        return failed(code, attempts, available=START_MICROS - self._spent_micros())

    def delivered(self, attempts: list[tuple[str, str]], *, price: int = PRICE_MICROS) -> Picture:
        """What one output that was delivered for `price` just now must look like."""
        return delivered(attempts, price=price, quote=price, available=START_MICROS - self._spent_micros() + price)

    @staticmethod
    def _spent_micros() -> int:
        return Charge.objects.aggregate(sum=Sum("price_micros"))["sum"] or 0

    @property
    def hits(self) -> int:
        """Requests that reached the stand-in."""
        return len(self.fake.requests)

    @property
    def health(self) -> Health:
        row = Channel.objects.get(pk=self.channel.pk)
        return Health(row.failures_in_a_row, bool(row.disabled_reason), row.last_success_at is not None)

    def cost_micros(self, generation_id: uuid.UUID) -> int:
        """What the attempts are taken to have cost the house."""
        rows = Attempt.objects.filter(output__generation=generation_id)
        return rows.aggregate(sum=Sum("cost_micros"))["sum"] or 0

    def image_cost_micros(self) -> int:
        """What this road bills for one 1K image, by the catalogue."""
        cost = Cost.objects.get(channel_kind=self.kind, image_model="gemini-3-pro-image", lane="standard")
        tokens = cost.image_tokens_by_size["1K"]
        return -(-tokens * cost.image_output_micros_per_million_tokens // 1_000_000)

    @staticmethod
    def pictures(generation_id: uuid.UUID) -> Sequence[Media]:
        return list(Media.objects.filter(output__generation=generation_id).order_by("output__index"))

    def left_behind(self) -> list[Path]:
        """Files of the spool; there are none once a call has ended."""
        return list(self.spool.iterdir()) if self.spool.exists() else []
