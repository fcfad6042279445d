"""D: three providers that behave badly in turn: every prompt ends once, and its attempts tell what happened to it."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from accounts.ledger.models import Hold
from generation import submission
from generation.channels.fakes.faults import Fault
from generation.contract import GenerationRequest
from generation.models import Attempt, Charge, Generation, Output
from tests.upstreams.roads import road_to
from tests.upstreams.speakers import SPEAKERS, Fake

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("audited"),
    pytest.mark.slow,
    pytest.mark.timeout(900),
]

KINDS = ("gemini", "openai_chat", "ai_gateway")
COUNT = 1000
# What a fault makes of an attempt, and how often it is played.
FATES = {
    "": ("ok", ""),
    "503": ("error", "busy"),
    "500": ("error", "failed"),
    "429": ("error", "busy"),
    "truncated": ("unknown", "unknown"),
    "reset": ("unknown", "unknown"),
    "blocked-image": ("ok", ""),
}
BAD, GOOD = (0, 25, 20, 20, 15, 15, 5), (85, 5, 3, 2, 2, 1, 2)


class Weather:
    """Which provider has a bad time now; what it played to whom."""

    def __init__(self) -> None:
        self.dice = random.Random(11)
        self.played: dict[int, list[tuple[str, str]]] = defaultdict(list)
        self.request_count = 0

    def over(self, name: str) -> Callable[[Any], Fault | None]:
        def fault_for(request: Any) -> Fault | None:
            self.request_count += 1
            # Each is at its worst for fifty requests, and then the next one is.
            is_bad = KINDS[self.request_count // 50 % len(KINDS)] == name
            fault = self.dice.choices(list(FATES), BAD if is_bad else GOOD)[0]
            number = int(re.findall(r"lighthouse (\d+)", str(request.body))[-1])
            self.played[number].append((name, fault))
            argument = "IMAGE_SAFETY" if fault == "blocked-image" else ""
            return Fault(fault, argument) if fault else None

        return fault_for


def test_a_thousand_prompts_over_three_bad_roads_end_once_each_with_the_true_story(
    make_person: Any, queue: Any, settings: Any, start_fake: Callable[..., Fake]
) -> None:
    settings.NBP_ACCOUNT_QUEUE_CAP = settings.NBP_ACCOUNT_RUNNING_CAP = COUNT
    carol = make_person("carol", live_micros=COUNT * 42_900)
    weather = Weather()
    for priority, kind in enumerate(KINDS):
        fake = start_fake(kind, "three roads")
        fake.fault_for = weather.over(kind)
        road_to(fake.base_url, kind, kind=kind, secret=SPEAKERS[kind].secret, priority=priority % 2)
    numbers = {}
    for start in range(0, COUNT, 50):
        for number in range(start, start + 50):
            request = GenerationRequest(
                prompt=f"a lighthouse {number}", image_size="1K", model="gemini-2.5-flash-image"
            )
            accepted = submission.accept(carol.requester("live"), request, now=datetime.now(UTC))
            numbers[accepted.generation_id] = number
        queue.run_to_the_end()
    _everything_ended_once()
    _every_story_is_true(numbers, weather)


def _everything_ended_once() -> None:
    outputs = Output.objects.all()
    assert outputs.count() == COUNT
    succeeded = outputs.filter(state="succeeded").count()
    refused = outputs.filter(state="failed", error_code="content_refused").count()
    # A prompt that went unanswered three times is a named failure; with three roads there is hardly one.
    unanswered = outputs.filter(state="failed", error_code="upstream_no_answer").count()
    assert succeeded + refused + unanswered == COUNT
    assert succeeded > 0.9 * COUNT and refused > 0 and unanswered < 0.02 * COUNT
    assert Charge.objects.count() == succeeded
    assert {each.price_micros for each in Charge.objects.all()} == {42_900}
    assert not Hold.objects.filter(state="open").exists()


def _every_story_is_true(numbers: dict[Any, int], weather: Weather) -> None:
    told: dict[int, list[tuple[str, str, str]]] = defaultdict(list)
    rows = Attempt.objects.order_by("output", "number").select_related("channel", "output")
    for attempt in rows:
        number = numbers[attempt.output.generation_id]
        told[number].append((attempt.channel.name, attempt.status, attempt.error_kind))
    happened = {
        number: [(channel, *FATES[fault]) for channel, fault in played] for number, played in weather.played.items()
    }
    assert dict(told) == happened
    assert len(weather.played) == COUNT == Generation.objects.count()
    ends = {numbers[each.generation_id]: each.error_code for each in Output.objects.all()}
    for number, played in weather.played.items():
        assert (played[-1][1] == "blocked-image") == (ends[number] == "content_refused")
