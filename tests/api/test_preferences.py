"""Lanes, sizes that fit, drafts and roads, as a client of the native API asks for them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from generation.channels.models import Channel
from generation.models import Charge, Generation, Output, Price
from tests.upstreams.openai_service import FakeChat
from tests.upstreams.roads import road_to

PRO, LITE = "gemini-3-pro-image", "gemini-3.1-flash-lite-image"
# 0.134 and 0.067 dollars with 10 %.
STANDARD, HALF = 147_400, 73_700


def _quote(api: Any, person: Any, **body: Any) -> Any:
    return api(person, "POST", "quotes", {"prompt": "a lighthouse", "image_size": "1K", **body})


@pytest.mark.parametrize(
    ("body", "lane", "price"),
    [
        ({}, "standard", STANDARD),
        ({"lane": "standard"}, "standard", STANDARD),
        ({"lane": "flex"}, "flex", HALF),
        ({"lane": "batch"}, "batch", HALF),
        ({"lane": "auto"}, "flex", HALF),
        ({"lane": "auto", "deadline_seconds": 899}, "standard", STANDARD),
        ({"lane": "auto", "deadline_seconds": 900}, "flex", HALF),
        ({"lane": "auto", "deadline_seconds": 86_400}, "flex", HALF),
    ],
)
def test_a_lane_has_its_price_and_says_why_it_was_taken(
    api: Any, alice: Any, body: dict[str, Any], lane: str, price: int
) -> None:
    found = _quote(api, alice, **body).json()
    assert (found["lane"], found["per_image_micros"]) == (lane, price)
    assert found["lane_reason"].startswith(f"{lane}: ")


def test_auto_takes_the_batch_where_only_that_is_cheaper(api: Any, alice: Any) -> None:
    Price.objects.filter(lane="flex").delete()
    assert _quote(api, alice, lane="auto", deadline_seconds=86_399).json()["lane"] == "standard"
    assert _quote(api, alice, lane="auto", deadline_seconds=86_400).json()["lane"] == "batch"


def test_a_lane_without_a_price_or_a_road_is_refused(api: Any, alice: Any) -> None:
    without_price = _quote(api, alice, model="gemini-2.5-flash-image", lane="flex").json()["error"]
    assert (without_price["code"], without_price["param"]) == ("lane_not_available", "lane")
    with FakeChat() as fake:
        road_to(fake.base_url, "reseller")
        without_road = api(alice, "POST", "quotes", {"prompt": "x", "lane": "flex"}, mode="live").json()["error"]
    assert without_road["code"] == "lane_not_available"


def test_half_the_price_is_held_charged_and_told(api: Any, alice: Any, queue: Any) -> None:
    made = api(alice, "POST", "generations", {"prompt": "x", "image_size": "1K", "lane": "flex"}).json()
    queue.run()
    found = api(alice, "GET", f"generations/{made['id']}").json()
    assert (found["lane"], found["status"], found["quote_micros"], found["price_micros"]) == (
        "flex",
        "succeeded",
        HALF,
        HALF,
    )
    row = Generation.objects.get()
    assert (row.lane, row.price.lane, Charge.objects.get().price.lane) == ("flex", "flex", "flex")
    assert row.deadline_at == row.created_at + timedelta(minutes=15)


@pytest.mark.parametrize(
    ("body", "size"),
    [
        ({"purpose": "thumbnail"}, "1K"),
        ({"purpose": "blog"}, "2K"),
        ({"purpose": "product"}, "2K"),
        ({"purpose": "print"}, "4K"),
        ({"display_width_px": 1024}, "1K"),
        ({"display_width_px": 1025}, "2K"),
        ({"display_width_px": 1300, "aspect_ratio": "16:9"}, "1K"),
        ({"display_width_px": 800, "aspect_ratio": "9:16"}, "2K"),
        ({"display_width_px": 4000}, "4K"),
        ({"display_width_px": 16_000}, "4K"),
        ({"display_width_px": 4000, "purpose": "product"}, "2K"),
        ({"display_width_px": 700, "purpose": "hero"}, "1K"),
        ({}, "1K"),
    ],
)
def test_the_smallest_size_that_fits_is_taken(api: Any, alice: Any, body: dict[str, Any], size: str) -> None:
    assert _quote(api, alice, image_size="auto", **body).json()["image_size"] == size


def test_a_draft_goes_to_the_cheapest_model_of_the_family(api: Any, alice: Any) -> None:
    found = _quote(api, alice, draft=True, image_size="4K").json()
    assert (found["model"], found["image_size"]) == (LITE, "1K")
    assert [each["code"] for each in found["warnings"]] == ["draft"]
    flux = _quote(api, alice, model="flux-2-flex", draft=True).json()
    assert flux["model"] == "flux-2-pro"
    searching = _quote(api, alice, draft=True, search_grounding=True).json()
    assert searching["model"] == "gemini-nano-banana-2.1"


@pytest.mark.parametrize(
    ("routing", "param", "code"),
    [
        ({"max_price_usd": 0.1}, "routing.max_price_usd", "price_above_maximum"),
        ({"only": ["nowhere"]}, "routing.only", "channel_not_found"),
        ({"order": ["sandbox", "nowhere"]}, "routing.order", "channel_not_found"),
        ({"sort": "colour"}, "routing.sort", "invalid_request"),
        ({"fallback_models": ["no-model"]}, "routing.fallback_models[0]", "model_not_found"),
        ({"fallback_models": [LITE, "flux-pro-1.0-fill"], "x": 1}, "routing.x", "unknown_field"),
        ({"max_price_usd": -1}, "routing.max_price_usd", "invalid_request"),
        ({"max_price_usd": "NaN"}, "routing.max_price_usd", "invalid_request"),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    api: Any, alice: Any, routing: dict[str, Any], param: str, code: str
) -> None:
    answer = _quote(api, alice, routing=routing)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, code, param)


def test_a_price_at_the_maximum_is_accepted(api: Any, alice: Any) -> None:
    assert _quote(api, alice, routing={"max_price_usd": "0.1474"}).status_code == 200
    assert _quote(api, alice, lane="auto", routing={"max_price_usd": 0.08}).json()["lane"] == "flex"


def _make(api: Any, alice: Any, queue: Any, **routing: Any) -> Output:
    body = {"prompt": "a lighthouse", "image_size": "1K", "routing": routing}
    made = api(alice, "POST", "generations", body, mode="live")
    assert made.status_code == 202, made.content
    queue.run_to_the_end()
    return Output.objects.latest("created_at")


def _taken(output: Output) -> list[str]:
    return list(output.attempts.order_by("number").values_list("channel__name", flat=True))


def test_models_that_no_live_channel_serves_are_not_listed(api: Any, alice: Any) -> None:
    def listed() -> set[str]:
        return {each["id"] for each in api(alice, "GET", "models").json()["data"]}

    assert {PRO, "flux-2-pro"} <= listed(), "without any live channel all of them are"
    with FakeChat() as fake:
        road_to(fake.base_url, "reseller", only_models=[PRO, LITE])
        assert listed() == {PRO, LITE}


def test_a_request_names_its_roads(api: Any, alice: Any, queue: Any) -> None:
    with FakeChat(cached=True) as fake:
        for priority, name in enumerate(("first", "second", "third"), start=1):
            road_to(fake.base_url, name, priority=priority)
        assert _taken(_make(api, alice, queue)) == ["first"]
        assert _taken(_make(api, alice, queue, only=["second", "third"])) == ["second"]
        assert _taken(_make(api, alice, queue, order=["third", "second"])) == ["third"]
        alice.keys["live"].api_key.routing = {"order": ["second"]}
        alice.keys["live"].api_key.save()
        assert _taken(_make(api, alice, queue)) == ["second"]
        assert _taken(_make(api, alice, queue, order=["third"])) == ["third"]


def test_the_cheapest_road_goes_first_if_asked(api: Any, alice: Any, queue: Any) -> None:
    with FakeChat(cached=True) as fake:
        road_to(fake.base_url, "list price", priority=1)
        road_to(fake.base_url, "reseller", priority=2, call_micros={PRO: {"1K": 90_000}})
        assert _taken(_make(api, alice, queue)) == ["list price"]
        output = _make(api, alice, queue, sort="price")
        assert _taken(output) == ["reseller"]
        assert (output.attempts.get().cost_micros, output.charge.cost_micros) == (90_000, 90_000)


def test_what_an_upstream_says_it_bills_is_what_it_costs(api: Any, alice: Any, queue: Any) -> None:
    with FakeChat(cached=True, cost=0.1391) as fake:
        road_to(fake.base_url, "openrouter", call_micros={PRO: 90_000})
        assert _make(api, alice, queue).charge.cost_micros == 139_100


def test_another_model_stands_in_at_its_own_price(api: Any, alice: Any, queue: Any) -> None:
    from generation.channels.fakes.faults import Fault

    with FakeChat(cached=True) as down, FakeChat(cached=True) as up:
        down.fault_for = lambda _request: Fault("503")
        road_to(down.base_url, "pro road", only_models=[PRO])
        road_to(up.base_url, "nano road", only_models=["gemini-nano-banana-2.1"])
        output = _make(api, alice, queue, fallback_models=["nano-banana-2.1"])
        shown = api(alice, "GET", f"generations/{output.generation.public_id}", mode="live").json()
    assert _taken(output)[-1] == "nano road"
    assert (shown["model"], shown["outputs"][0]["model"]) == (PRO, "gemini-nano-banana-2.1")
    assert (output.price_micros, output.quote_micros) == (36_960, STANDARD)
    charge = Charge.objects.get()
    assert (charge.image_model_id, charge.price.image_model_id) == ("gemini-nano-banana-2.1",) * 2


def test_another_model_stands_in_where_no_channel_has_the_one_asked_for(api: Any, alice: Any, queue: Any) -> None:
    with FakeChat(cached=True) as up:
        road_to(up.base_url, "nano road", only_models=["gemini-nano-banana-2.1"])
        refused = api(alice, "POST", "generations", {"prompt": "x", "model": PRO}, mode="live")
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "model_not_available")
        output = _make(api, alice, queue, fallback_models=["nano-banana-2.1"])
    assert (_taken(output), output.price_micros) == (["nano road"], 36_960)


def test_one_channel_can_make_it_with_another_model(api: Any, alice: Any, queue: Any) -> None:
    from generation.channels.fakes.faults import Fault

    with FakeChat(cached=True) as fake:
        fake.fault_for = lambda asked: Fault("503") if "3-pro" in asked.body["model"] else None
        road_to(fake.base_url, "only")
        output = _make(api, alice, queue, fallback_models=["nano-banana-2.1"])
        attempts = list(output.attempts.order_by("number").values_list("status", "image_model_id"))
    assert attempts == [("error", None)] * 5 + [("ok", "gemini-nano-banana-2.1")]


def test_an_edit_stays_with_the_channel_that_made_the_image(api: Any, alice: Any, queue: Any) -> None:
    with FakeChat(cached=True) as fake:
        for name in ("one", "other"):
            road_to(fake.base_url, name)
        first = _make(api, alice, queue)
        home = _taken(first)[0]
        for _ in range(6):
            body = {"prompt": "at night", "previous": first.public_id}
            assert api(alice, "POST", "generations", body, mode="live").status_code == 202
            queue.run_to_the_end()
            assert _taken(Output.objects.latest("created_at")) == [home]
        Channel.objects.filter(name=home).update(is_enabled=False)
        assert api(alice, "POST", "generations", body, mode="live").status_code == 202
        queue.run_to_the_end()
        assert _taken(Output.objects.latest("created_at")) == [{"one": "other", "other": "one"}[home]]


def test_a_mask_goes_with_its_reference_to_a_model_that_fills(api: Any, alice: Any, queue: Any) -> None:
    import base64

    from tests.images import png
    from tests.upstreams.bfl import FakeBfl

    image = base64.b64encode(png()).decode()
    references = [{"data": image}, {"data": image, "role": "mask"}]
    with FakeBfl(cached=True, pending_polls=0) as fake:
        road_to(fake.base_url, "bfl", kind="bfl")
        body = {"prompt": "a window", "model": "flux-pro-1.0-fill", "references": references}
        assert api(alice, "POST", "generations", body, mode="live").status_code == 202
        queue.run_to_the_end()
        assert {"image", "mask"} <= set(fake.requests[0].body)
    assert Output.objects.get().state == "succeeded"
    for wrong in (references[1:], [*references, references[1]]):
        found = api(alice, "POST", "quotes", {**body, "references": wrong}, mode="live").json()
        assert found["error"]["param"] == "references"
    refused = api(alice, "POST", "quotes", {**body, "model": PRO}, mode="test").json()["error"]
    assert (refused["code"], refused["param"]) == ("not_supported", "references[1].role")


def test_a_minute_has_no_more_calls_than_the_provider_allows(api: Any, alice: Any, queue: Any) -> None:
    with FakeChat(cached=True) as fake:
        road_to(fake.base_url, "narrow", priority=1, requests_per_minute=2)
        road_to(fake.base_url, "wide", priority=2)
        body = {"prompt": "a lighthouse", "image_size": "1K", "n": 5}
        assert api(alice, "POST", "generations", body, mode="live").status_code == 202
        queue.run_to_the_end()
    taken = [_taken(each) for each in Output.objects.all()]
    assert sorted(taken) == [["narrow"]] * 2 + [["wide"]] * 3


def test_roads_of_one_priority_share_by_weight(api: Any, alice: Any, queue: Any) -> None:
    with FakeChat(cached=True) as fake:
        road_to(fake.base_url, "never", weight=0)
        road_to(fake.base_url, "always", weight=1)
        assert {_taken(_make(api, alice, queue))[0] for _ in range(8)} == {"always"}
