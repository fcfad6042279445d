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

import pytest
from django.db.models import Sum

from generation import submission
from generation.channels.fakes.faults import NAMES
from generation.channels.fakes.gemini import FakeGemini, Fault
from generation.channels.models import Channel
from generation.contract import GenerationRequest
from generation.models import Attempt, Charge, Cost, Media
from tests.faults.pictures import Picture, delivered, failed
from tests.upstreams.ai_gateway import NAMES_PLAYED as AI_GATEWAY_NAMES
from tests.upstreams.ai_gateway import FakeAiGateway
from tests.upstreams.bfl import NAMES_PLAYED as BFL_NAMES
from tests.upstreams.bfl import FakeBfl
from tests.upstreams.openai_service import CHAT_NAMES, IMAGES_NAMES, FakeChat, FakeImages
from tests.upstreams.roads import road_to
from tests.upstreams.vertex import NAMES_PLAYED as VERTEX_NAMES
from tests.upstreams.vertex import SECRET as VERTEX_SECRET
from tests.upstreams.vertex import FakeVertex

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


# A fault's name and argument, and the word for it that the customer reads.
Word = tuple[str, str, str]
_GEMINI_REFUSALS = (
    "SAFETY",
    "PROHIBITED_CONTENT",
    "IMAGE_SAFETY",
    "IMAGE_PROHIBITED_CONTENT",
    "RECITATION",
    "SPII",
    "BLOCKLIST",
)
_GEMINI_SILENCES = (
    "OTHER",
    "NO_IMAGE",
    "MAX_TOKENS",
    "LANGUAGE",
    "IMAGE_OTHER",
    "MALFORMED_FUNCTION_CALL",
    "A_WORD_TO_COME",
)
_GEMINI_WORDS: tuple[Word, ...] = tuple(
    (way, reason, reason) for way in ("blocked-image", "blocked-prompt") for reason in _GEMINI_REFUSALS
)
_SILENCES: tuple[Word, ...] = (
    ("no-image", "NO_IMAGE", "NO_IMAGE"),
    ("text-only", "STOP", "STOP"),
    ("max-tokens", "MAX_TOKENS", "MAX_TOKENS"),
)


@dataclass(frozen=True, slots=True)
class Speaker:
    """An adapter that speaks HTTP, and the stand-in that plays the faults `names`.

    `refusals` and `silences` are the ways in which it answers without a picture; `model` is an image model it serves, `upstream_model` its word for it; `has_links` is
    whether it may hand out a link in place of a picture. Work that `followed` faults strike has a name by then, under which
    it is asked for once more before anything is paid again. `larger` is a size above 1K.
    """

    fake: Callable[[], Fake]
    names: frozenset[str]
    refusals: tuple[Word, ...]
    silences: tuple[Word, ...]
    model: str = "gemini-3-pro-image"
    upstream_model: str = "gemini-3-pro-image"
    secret: str = SECRET
    tells_delays: bool = False
    has_links: bool = False
    followed: frozenset[str] = frozenset()
    larger: str = "4K"
    other_model: str = "gemini-2.5-flash-image"


SPEAKERS: Mapping[str, Speaker] = {
    "ai_gateway": Speaker(
        lambda: FakeAiGateway(cached=True),
        AI_GATEWAY_NAMES,
        (
            *(("blocked-image", word, word) for word in _GEMINI_REFUSALS),
            ("blocked-prompt", "", "invalid_request_error"),
        ),
        _SILENCES,
        upstream_model="google/gemini-3-pro-image",
    ),
    "bfl": Speaker(
        # What it says of its cost would hide what the catalogue says.
        lambda: FakeBfl(cached=True, pending_polls=0, cost=None),
        BFL_NAMES,
        (
            ("blocked-prompt", "", "Request Moderated"),
            ("blocked-image", "Violence", "Content Moderated: Violence"),
        ),
        (("no-image", "", "Ready"),),
        model="flux-2-pro",
        upstream_model="flux-2-pro",
        has_links=True,
        followed=frozenset({"not-an-image", "broken-image", "file-uri", "huge", "gzip-bomb"}),
        larger="2K",
        other_model="flux-kontext-pro",
    ),
    "gemini": Speaker(
        lambda: FakeGemini(cached=True),
        NAMES,
        _GEMINI_WORDS,
        (*_SILENCES, *(("blocked-image", reason, reason) for reason in _GEMINI_SILENCES)),
        tells_delays=True,
    ),
    "openai_chat": Speaker(
        lambda: FakeChat(cached=True),
        CHAT_NAMES,
        (("blocked-image", "IMAGE_SAFETY", "IMAGE_SAFETY"), ("blocked-prompt", "violence", "moderation: violence")),
        (("no-image", "", "STOP"), ("max-tokens", "", "LENGTH")),
        has_links=True,
    ),
    "openai_images": Speaker(
        lambda: FakeImages(cached=True),
        IMAGES_NAMES,
        (
            ("blocked-prompt", "", "moderation_blocked"),
            ("blocked-prompt", "content_policy_violation", "content_policy"),
        ),
        (("no-image", "", "no image"),),
        has_links=True,
    ),
    "vertex": Speaker(
        lambda: FakeVertex(cached=True),
        VERTEX_NAMES,
        _GEMINI_WORDS,
        (*_SILENCES, *(("blocked-image", reason, reason) for reason in _GEMINI_SILENCES)),
        secret=VERTEX_SECRET,
        tells_delays=True,
    ),
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
