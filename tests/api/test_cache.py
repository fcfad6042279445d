"""Images that were made before: who may have them again, at what price, and what is better than none."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection

from accounts.ledger.models import Hold
from generation import media
from generation.channels import registry
from generation.channels.fakes.faults import Fault
from generation.channels.models import Channel
from generation.models import Charge, Generation, Media, Output, Price
from tests.upstreams.openai_service import FakeChat
from tests.upstreams.roads import road_to

pytestmark = pytest.mark.usefixtures("audited")

PRICE = 147_400


@pytest.fixture
def fake() -> Iterator[FakeChat]:
    """A live channel that draws another picture for each request."""
    with FakeChat() as found:
        road_to(found.base_url, "road")
        yield found


def _make(api: Any, person: Any, queue: Any, *, mode: str = "live", headers: Any = None, **body: Any) -> Any:
    body = {"prompt": "a lighthouse", "image_size": "1K", "cache": {}, **body}
    made = api(person, "POST", "generations", body, mode=mode, headers=headers)
    assert made.status_code == 202, made.content
    queue.run_to_the_end()
    return api(person, "GET", f"generations/{made.json()['id']}", mode=mode).json()


def _older(seconds: float) -> None:
    Generation.objects.update(created_at=datetime.now(UTC) - timedelta(seconds=seconds))


def test_the_same_request_is_answered_with_the_same_image_for_nothing(
    api: Any, alice: Any, queue: Any, fake: FakeChat
) -> None:
    first = _make(api, alice, queue, tags=["a"])
    second = _make(api, alice, queue, tags=["b"], metadata={"order": "7"})
    assert first["id"] != second["id"]
    assert [each["outputs"][0]["origin"] for each in (first, second)] == ["model", "cache"]
    assert [each["price_micros"] for each in (first, second)] == [PRICE, 0]
    assert (second["quote_micros"], len(fake.requests)) == (0, 1)
    hashes = set(Media.objects.values_list("sha256", flat=True))
    assert (len(hashes), Media.objects.count(), Media.objects.values("storage_name").distinct().count()) == (1, 2, 2)
    assert [(each.price_micros, each.cost_micros) for each in Charge.objects.order_by("pk")][1] == (0, 0)
    assert [each["channel"] for each in second["outputs"][0]["attempts"]] == ["cache"]
    assert Hold.objects.count() == 1


def test_what_is_asked_otherwise_or_by_others_is_made(
    api: Any, alice: Any, bob: Any, queue: Any, fake: FakeChat
) -> None:
    _make(api, alice, queue)
    others: list[dict[str, Any]] = [
        {"prompt": "a lighthouse at night"},
        {"image_size": "2K"},
        {"aspect_ratio": "16:9"},
        {"seed": 7},
        {"n": 2},
        {"cache": None},
        {"model": "gemini-2.5-flash-image"},
    ]
    for body in others:
        assert {each["origin"] for each in _make(api, alice, queue, **body)["outputs"]} == {"model"}, body
    made_before = len(fake.requests)
    assert _make(api, alice, queue, mode="test")["outputs"][0]["origin"] == "model"
    assert len(fake.requests) == made_before


def test_it_may_be_as_old_as_the_request_says(api: Any, alice: Any, queue: Any, fake: FakeChat) -> None:
    _make(api, alice, queue)
    _older(3601)
    assert _make(api, alice, queue)["outputs"][0]["origin"] == "model"
    _older(7000)
    assert _make(api, alice, queue, cache={"max_age_seconds": 8000})["outputs"][0]["origin"] == "cache"
    assert _make(api, alice, queue, cache={"max_age_seconds": 0})["outputs"][0]["origin"] == "model"


def test_a_copy_is_as_old_as_what_it_is_a_copy_of(api: Any, alice: Any, queue: Any, fake: FakeChat) -> None:
    _make(api, alice, queue)
    _older(3000)
    for _ in range(4):
        assert _make(api, alice, queue)["outputs"][0]["origin"] == "cache"
    first = Generation.objects.earliest("pk")
    Generation.objects.filter(pk=first.pk).update(created_at=datetime.now(UTC) - timedelta(seconds=3601))
    assert _make(api, alice, queue)["outputs"][0]["origin"] == "model"
    assert len(fake.requests) == 2


def test_a_key_can_ask_for_it_once_and_for_all(api: Any, alice: Any, queue: Any, fake: FakeChat) -> None:
    key = alice.keys["live"].api_key
    key.routing = {"cache": {"max_age_seconds": 60}}
    key.save()
    origins = [_make(api, alice, queue, cache=None)["outputs"][0]["origin"] for _ in range(2)]
    assert origins == ["model", "cache"]


def test_a_stored_image_can_have_a_price(api: Any, alice: Any, queue: Any, fake: FakeChat) -> None:
    Price.objects.update(cached_micros=10_000)
    _make(api, alice, queue)
    second = _make(api, alice, queue)
    assert (second["quote_micros"], second["price_micros"]) == (10_000, 10_000)
    assert sorted(Charge.objects.values_list("price_micros", flat=True)) == [10_000, PRICE]


def test_an_image_that_is_gone_is_made_anew(api: Any, alice: Any, queue: Any, fake: FakeChat) -> None:
    _make(api, alice, queue)
    media.remove(Media.objects.get().storage_name)
    second = _make(api, alice, queue)
    assert (second["status"], second["outputs"][0]["origin"], second["price_micros"]) == ("succeeded", "model", PRICE)
    # For the audit, which would miss it.
    Media.objects.filter(output=Output.objects.earliest("pk")).update(purged_at=datetime.now(UTC))


def test_who_asks_while_it_is_being_made_gets_the_same(api: Any, alice: Any, queue: Any, fake: FakeChat) -> None:
    body = {"prompt": "a lighthouse", "image_size": "1K", "cache": {}}

    def ask(number: int) -> Any:
        try:
            found = api(alice, "POST", "generations", body, mode="live", headers={"Idempotency-Key": f"key {number}"})
            return found.status_code, found.json()["id"]
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(ask, range(6)))
    queue.run_to_the_end()
    assert len(set(answers)) == 1
    assert (len(fake.requests), Generation.objects.count(), Charge.objects.count()) == (1, 1, 1)
    assert ask(3)[1] == answers[0][1], "its key belongs to it from then on"
    assert len(fake.requests) == 1


def test_where_no_channel_can_make_it_an_older_one_stands_in(api: Any, alice: Any, queue: Any, fake: FakeChat) -> None:
    _make(api, alice, queue)
    _older(7200)
    for name in ("503", "close"):
        fake.fault_for = lambda _request, name=name: Fault(name)  # type: ignore[misc]
        stale = _make(api, alice, queue, cache={"stale_if_error_seconds": 86_400})
        assert (stale["status"], stale["outputs"][0]["origin"]) == ("succeeded", "cache"), name
        assert (stale["quote_micros"], stale["price_micros"]) == (PRICE, 0)
        Channel.objects.update(cool_until=None, model_health={})
        _older(7200)
    fake.fault_for = lambda _request: Fault("503")
    assert _make(api, alice, queue, cache={"stale_if_error_seconds": 7000})["status"] == "failed"


def test_a_placeholder_is_better_than_nothing_for_who_asks_for_it(
    api: Any, alice: Any, queue: Any, fake: FakeChat
) -> None:
    fake.fault_for = lambda _request: Fault("503")
    asked = {"cache": None, "routing": {"on_failure": "placeholder"}}
    drawn = _make(api, alice, queue, **asked)
    output = drawn["outputs"][0]
    assert (drawn["status"], output["origin"], drawn["price_micros"]) == ("succeeded", "placeholder", 0)
    assert (output["width"], output["text"]) == (1024, "A placeholder: no model made this.")
    assert output["attempts"][-1]["channel"] == "placeholder"
    fake.fault_for = None
    Channel.objects.update(cool_until=None, model_health={})
    made = _make(api, alice, queue, **asked)
    fake.fault_for = lambda _request: Fault("close")
    again = _make(api, alice, queue, **asked)
    assert [each["outputs"][0]["origin"] for each in (made, again)] == ["model", "cache"]
    assert _make(api, alice, queue, **{**asked, "prompt": "another"})["outputs"][0]["origin"] == "placeholder"


def test_a_refusal_is_no_reason_for_a_placeholder(api: Any, alice: Any, queue: Any, fake: FakeChat) -> None:
    fake.fault_for = lambda _request: Fault("blocked-image")
    found = _make(api, alice, queue, routing={"on_failure": "placeholder"})
    assert (found["status"], found["error"]["code"]) == ("failed", "content_refused")


def test_a_stored_image_needs_no_channel(api: Any, alice: Any, queue: Any, fake: FakeChat) -> None:
    _make(api, alice, queue)
    Channel.objects.filter(name="road").update(is_enabled=False)
    assert _make(api, alice, queue)["outputs"][0]["origin"] == "cache"


def _shut(fake: FakeChat) -> None:
    Channel.objects.filter(name="road").update(disabled_reason="unauthorized: the key is wrong")
    registry.forget()


def test_what_stands_in_does_so_while_every_channel_is_shut(api: Any, alice: Any, queue: Any, fake: FakeChat) -> None:
    _make(api, alice, queue)
    _older(7200)
    _shut(fake)
    refused = api(alice, "POST", "generations", {"prompt": "a lighthouse"}, mode="live")
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "no_channel_available")
    stale = _make(api, alice, queue, cache={"stale_if_error_seconds": 86_400})
    assert (stale["outputs"][0]["origin"], stale["price_micros"]) == ("cache", 0)
    drawn = _make(api, alice, queue, prompt="another", routing={"on_failure": "placeholder"})
    assert (drawn["outputs"][0]["origin"], drawn["price_micros"]) == ("placeholder", 0)
    too_old = {"prompt": "a lighthouse", "image_size": "1K", "cache": {"stale_if_error_seconds": 10}}
    assert api(alice, "POST", "generations", too_old, mode="live").status_code == 503


def test_a_key_that_takes_any_picture_gets_the_newest_of_the_same_request(
    api: Any, alice: Any, queue: Any, fake: FakeChat
) -> None:
    key = alice.keys["live"].api_key
    key.routing = {"on_failure": "placeholder"}
    key.save()
    _make(api, alice, queue, cache=None)
    _shut(fake)
    assert _make(api, alice, queue, cache=None)["outputs"][0]["origin"] == "cache"


def test_hits_misses_and_what_they_saved_are_reported(
    api: Any, alice: Any, queue: Any, fake: FakeChat, admin_client: Any
) -> None:
    Price.objects.update(cached_micros=10_000)
    _make(api, alice, queue)
    cost = Charge.objects.get().cost_micros
    assert cost
    for _ in range(3):
        _make(api, alice, queue)
    _make(api, alice, queue, cache=None)
    (day,) = api(alice, "GET", "usage", mode="live").json()["data"]
    del day["group"]
    saved = 3 * (PRICE - 10_000)
    assert day == {
        "image_count": 5,
        "price_micros": 2 * PRICE + 30_000,
        "hit_count": 3,
        "miss_count": 1,
        "saved_micros": saved,
    }
    words = f"75.0 % of 4; saved ${saved / 1_000_000} of price, ${3 * cost / 1_000_000} of cost"
    for page in ("/admin/", "/admin/generation/charge/"):
        assert words in admin_client.get(page).content.decode(), page


def test_what_stands_in_saves_nothing(api: Any, alice: Any, queue: Any, fake: FakeChat) -> None:
    _make(api, alice, queue)
    _older(7200)
    _shut(fake)
    assert _make(api, alice, queue, cache={"stale_if_error_seconds": 86_400})["outputs"][0]["origin"] == "cache"
    charge = Charge.objects.latest("pk")
    assert (charge.cache, charge.saved_price_micros, charge.saved_cost_micros) == ("miss", 0, 0)
