"""A second channel is called beside a slow one: the first image wins, is charged once, and the other is cost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from generation.channels.fakes.faults import Fault
from generation.models import Attempt, Charge, Output, Price
from tests.upstreams.openai_service import FakeChat
from tests.upstreams.roads import road_to

pytestmark = pytest.mark.usefixtures("audited")

PRICE, SECOND = 147_400, 134_000


@pytest.fixture
def roads() -> Iterator[tuple[FakeChat, FakeChat]]:
    with FakeChat(cached=True) as first, FakeChat(cached=True) as second:
        for priority, (name, fake) in enumerate((("first", first), ("second", second))):
            road_to(fake.base_url, name, priority=priority)
        yield first, second


def _make(api: Any, person: Any, queue: Any, seconds: float) -> Any:
    body = {"prompt": "a lighthouse", "image_size": "1K", "routing": {"hedge_after_seconds": seconds}}
    made = api(person, "POST", "generations", body, mode="live")
    assert made.status_code == 202, made.content
    queue.run_to_the_end()
    return api(person, "GET", f"generations/{made.json()['id']}", mode="live").json()


def _attempts() -> list[tuple[str, str, bool, bool]]:
    rows = Attempt.objects.order_by("number")
    return list(rows.values_list("channel__name", "status", "is_hedge", "is_delivered"))


def test_a_quick_answer_needs_no_second_call(api: Any, alice: Any, queue: Any, roads: Any) -> None:
    found = _make(api, alice, queue, 30)
    assert (found["quote_micros"], found["price_micros"]) == (PRICE + SECOND, PRICE)
    assert _attempts() == [("first", "ok", False, True)]


@pytest.mark.parametrize("seconds", [0, 0.2])
def test_of_two_the_first_image_wins_and_the_other_is_cost(
    api: Any, alice: Any, queue: Any, roads: tuple[FakeChat, FakeChat], seconds: float
) -> None:
    roads[0].fault_for = lambda _request: Fault(latency_seconds=2)
    found = _make(api, alice, queue, seconds)
    assert (found["status"], found["price_micros"]) == ("succeeded", PRICE + SECOND)
    assert _attempts() == [("first", "ok", False, False), ("second", "ok", True, True)]
    assert Charge.objects.get().price_micros == PRICE + SECOND
    assert all(each.cost_micros > 100_000 for each in Attempt.objects.all())


def test_a_second_call_that_fails_leaves_the_output_to_the_first(
    api: Any, alice: Any, queue: Any, roads: tuple[FakeChat, FakeChat]
) -> None:
    roads[0].fault_for = lambda _request: Fault(latency_seconds=1)
    roads[1].fault_for = lambda _request: Fault("503")
    assert _make(api, alice, queue, 0)["status"] == "succeeded"
    assert _attempts() == [("first", "ok", False, True), ("second", "error", True, False)]


def test_a_first_call_that_fails_leaves_the_output_to_the_second(
    api: Any, alice: Any, queue: Any, roads: tuple[FakeChat, FakeChat]
) -> None:
    roads[0].fault_for = lambda _request: Fault("503", latency_seconds=0.6)
    roads[1].fault_for = lambda _request: Fault(latency_seconds=1.5)
    assert _make(api, alice, queue, 0)["status"] == "succeeded"
    assert _attempts() == [("first", "error", False, False), ("second", "ok", True, True)]


def test_where_both_fail_it_is_tried_again_and_ends_free(
    api: Any, alice: Any, queue: Any, roads: tuple[FakeChat, FakeChat]
) -> None:
    for road in roads:
        road.fault_for = lambda _request: Fault("close", latency_seconds=0.5)
    found = _make(api, alice, queue, 0)
    assert (found["status"], found["price_micros"], found["error"]["code"]) == ("failed", 0, "upstream_no_answer")
    assert Output.objects.get().attempts.filter(status="unknown").count() == 3
    assert not Charge.objects.exists()


def test_what_has_no_price_is_not_offered(api: Any, alice: Any, roads: Any) -> None:
    Price.objects.update(hedge_micros=None)
    body = {"prompt": "x", "routing": {"hedge_after_seconds": 1}}
    error = api(alice, "POST", "generations", body, mode="live").json()["error"]
    assert (error["code"], error["param"]) == ("price_not_set", "routing.hedge_after_seconds")
