"""A live channel that leads to a stand-in, and what may be asked of it; the stand-ins are those of SPEAKERS."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.db.models import Sum

from generation import submission
from generation.channels.fakes.faults import Fault
from generation.channels.models import Channel
from generation.contract import GenerationRequest
from generation.models import Attempt, Charge, Cost, Media
from tests.faults.pictures import Picture, delivered, failed
from tests.upstreams.roads import road_to
from tests.upstreams.speakers import SPEAKERS, Fake

# What Alice's live wallet starts with, and what a 1K image costs her.
START_MICROS, PRICE_MICROS = 10_000_000, 147_400
UNKNOWN, OK = ("unknown", "unknown"), ("ok", "")


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
        return road_to(base_url, name, kind=self.kind, secret=self.speaker.secret, priority=priority)

    def lead_to(self, base_url: str) -> None:
        """Point the channel elsewhere."""
        Channel.objects.filter(pk=self.channel.pk).update(base_url=base_url)

    def plays(self, name: str) -> bool:
        """Whether its stand-in can play a fault: not every wire can carry each of them."""
        return name in self.speaker.names

    def fault(self, name: str, argument: str = "", **hints: Any) -> Any:
        if not self.plays(name):
            pytest.skip(f"the wire of {self.kind} cannot carry {name!r}")
        if hints.get("retry_delay") and not self.speaker.tells_delays:
            pytest.skip(f"{self.kind} says how long to wait in a header only")
        return Fault(name, argument, **hints)

    def paid(self, name: str, attempts: int) -> int:
        """How many of so many attempts, all struck by a fault or the last of them not, are paid for upstream."""
        return -(-attempts // 2) if name in self.speaker.followed else attempts

    def play(self, *faults: Any) -> None:
        """Faults of the next requests, one each; None plays none."""
        self.fake.script[:] = faults

    def always(self, fault: Any) -> None:
        """The same fault for every request from now on."""
        self.fake.fault_for = lambda _request: fault

    def ask(self, *, image_size: str = "1K", **fields: Any) -> uuid.UUID:
        """Accept a prompt in live mode; answers the generation's id."""
        request = self._request(image_size, fields)
        return submission.accept(self.person.requester("live"), request, now=datetime.now(UTC)).generation_id

    def make(self, **fields: Any) -> uuid.UUID:
        """Ask, and let workers and sweeper go on until it has ended."""
        generation_id = self.ask(**fields)
        self.queue.run_to_the_end()
        return generation_id

    def quote(self, *, image_size: str = "1K", **fields: Any) -> int:
        request = self._request(image_size, fields)
        return submission.quote(self.person.requester("live"), request, now=datetime.now(UTC)).total_micros

    def _request(self, image_size: str, fields: Mapping[str, Any]) -> GenerationRequest:
        return GenerationRequest(
            prompt="a lighthouse", image_size=image_size, **{"model": self.speaker.model, **fields}
        )

    def failed(self, code: str, attempts: list[tuple[str, str]]) -> Picture:
        """What one output that failed for free must look like, whatever was delivered before it."""
        return failed(code, attempts, available=START_MICROS - self._spent_micros())

    def delivered(self, attempts: list[tuple[str, str]]) -> Picture:
        """What one 1K output that was delivered just now must look like."""
        price = self.price_micros
        return delivered(attempts, price=price, quote=price, available=START_MICROS - self._spent_micros() + price)

    @property
    def price_micros(self) -> int:
        """What a 1K image costs her."""
        return self.quote()

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
        cost = Cost.objects.get(channel_kind=self.kind, image_model=self.speaker.model, lane="standard")
        if cost.image_micros_by_size:
            return int(cost.image_micros_by_size["1K"])
        tokens = cost.image_tokens_by_size["1K"]
        return -(-tokens * cost.image_output_micros_per_million_tokens // 1_000_000)

    @staticmethod
    def pictures(generation_id: uuid.UUID) -> Sequence[Media]:
        return list(Media.objects.filter(output__generation=generation_id).order_by("output__index"))

    def left_behind(self) -> list[Path]:
        """Files of the spool; there are none once a call has ended."""
        return list(self.spool.iterdir()) if self.spool.exists() else []
