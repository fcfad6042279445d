"""Roads, lanes and other models, as clients of other services ask for them at the doors made for those."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client

from generation.channels.fakes.faults import Fault
from generation.contract import Refusal
from generation.dialects import steering
from generation.dialects.fields import Fields
from generation.models import Charge, Generation
from generation.preferences import Preferences, Routing
from tests.api.conftest import streamed
from tests.upstreams.openai_service import FakeChat
from tests.upstreams.roads import road_to

PRO, FLASH = "gemini-3-pro-image", "gemini-nano-banana-2.1"
CHAT, IMAGES, RESPONSES = "/openai/v1/chat/completions", "/v1/images/generations", "/openrouter/api/v1/responses"
GENERATE = f"/gemini/v1beta/models/{PRO}:generateContent"
LANGUAGE, IMAGE = "/ai-gateway/v4/ai/language-model", "/ai-gateway/v4/ai/image-model"
_MESSAGES = [{"role": "user", "content": "a lighthouse"}]
_BODIES: dict[str, dict[str, Any]] = {
    CHAT: {"messages": _MESSAGES},
    IMAGES: {"prompt": "a lighthouse"},
    RESPONSES: {"input": "a lighthouse"},
    GENERATE: {"contents": [{"parts": [{"text": "a lighthouse"}]}]},
    LANGUAGE: {"prompt": _MESSAGES},
    IMAGE: {"prompt": "a lighthouse"},
}
_HEADERS = {
    "ai-language-model-specification-version": "4",
    "ai-language-model-id": PRO,
    "ai-image-model-specification-version": "4",
    "ai-model-id": PRO,
}


@pytest.mark.parametrize(
    ("body", "model", "preferences"),
    [
        ({}, "", Preferences()),
        ({"model": PRO, "service_tier": "auto"}, PRO, Preferences()),
        ({"model": PRO, "service_tier": "flex"}, PRO, Preferences(lane="flex")),
        ({"models": [PRO, FLASH]}, PRO, Preferences(routing=Routing(fallback_models=(FLASH,), are_names_foreign=True))),
        (
            {"model": PRO, "models": [PRO, FLASH], "provider": {"sort": {"by": "throughput"}}},
            PRO,
            Preferences(routing=Routing(sort="latency", fallback_models=(FLASH,), are_names_foreign=True)),
        ),
        (
            {"provider": {"order": ["a", "b"], "sort": "price", "max_price": {"image": "0.15", "prompt": 1}}},
            "",
            Preferences(
                routing=Routing(order=("a", "b"), sort="price", max_price_micros=150_000, are_names_foreign=True)
            ),
        ),
        (
            {"provider": {"order": ["a"], "allow_fallbacks": False}},
            "",
            Preferences(routing=Routing(only=("a",), order=("a",), are_names_foreign=True)),
        ),
        ({"provider": {"sort": "whim", "quantizations": ["fp8"]}}, "", Preferences()),
    ],
)
def test_what_openrouters_clients_say(body: dict[str, Any], model: str, preferences: Preferences) -> None:
    assert steering.as_openrouter(Fields(body)) == steering.Steered(model, preferences)


def test_what_the_gateways_clients_say() -> None:
    found = steering.as_gateway(Fields({"only": ["a"], "sort": "cost", "models": [FLASH], "serviceTier": "flex"}))
    routing = Routing(only=("a",), sort="price", fallback_models=(FLASH,), are_names_foreign=True)
    assert found == Preferences(lane="flex", routing=routing)


@pytest.mark.parametrize(("tier", "lane"), [("flex", "flex"), ("SERVICE_TIER_FLEX", "flex"), ("STANDARD", "")])
def test_what_geminis_clients_say(tier: str, lane: str) -> None:
    assert steering.as_gemini(Fields({"serviceTier": tier})).lane == lane


@pytest.mark.parametrize(
    "body",
    [
        {"models": [1]},
        {"models": "x"},
        {"provider": {"only": [""]}},
        {"provider": {"only": ["a\u0000"]}},
        {"models": ["a\ud800"]},
        {"provider": {"max_price": {"image": "much"}}},
        {"provider": {"max_price": {"image": True}}},
        {"provider": {"max_price": {"image": "NaN"}}},
        {"provider": {"max_price": {"image": -1}}},
        {"provider": {"allow_fallbacks": "no"}},
        {"service_tier": 7},
    ],
)
def test_nonsense_is_refused_by_name(body: dict[str, Any]) -> None:
    with pytest.raises(Refusal) as refusal:
        steering.as_openrouter(Fields(body))
    assert refusal.value.kind == "invalid"
    assert refusal.value.param


@pytest.fixture
def fakes() -> Iterator[tuple[FakeChat, FakeChat]]:
    """Two live channels: `first`, which is asked first, and `second`."""
    with FakeChat(cached=True) as first, FakeChat(cached=True) as second:
        road_to(first.base_url, "first", priority=1)
        road_to(second.base_url, "second", priority=2)
        yield first, second


def _make(
    person: Any, queue: Any, monkeypatch: pytest.MonkeyPatch, path: str, *, mode: str = "live", **body: Any
) -> Any:
    """What a client has that leaves before its image is made, and comes again when it is."""
    sent = json.dumps(_BODIES[path] | body).encode()

    def send() -> Any:
        return Client().post(path, sent, content_type="application/json", headers=_HEADERS | person.headers(mode))

    with monkeypatch.context() as patch:
        patch.setattr("generation.dialects.making.DEADLINE_SECONDS", 0.05)
        first = send()
    if first.status_code == 400:
        return first
    queue.run_to_the_end()
    return send()


def _taken() -> list[str]:
    attempts = Generation.objects.get().outputs.get().attempts.order_by("number")
    return list(attempts.values_list("channel__name", flat=True))


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, {"provider": {"order": ["second"]}}),
        (IMAGES, {"provider": {"only": ["second", "google-vertex"]}}),
        (RESPONSES, {"provider": {"order": ["second"], "allow_fallbacks": False}}),
        (LANGUAGE, {"providerOptions": {"gateway": {"order": ["vertex", "second"]}}}),
        (IMAGE, {"providerOptions": {"gateway": {"only": ["second"]}}}),
    ],
)
def test_each_door_carries_the_roads(
    alice: Any, queue: Any, monkeypatch: pytest.MonkeyPatch, fakes: Any, path: str, body: dict[str, Any]
) -> None:
    answer = _make(alice, queue, monkeypatch, path, **body)
    assert answer.status_code == 200, answer.content
    assert _taken() == ["second"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("path", "body", "model_of"),
    [
        (CHAT, {"models": [PRO, FLASH]}, lambda found: found["model"]),
        (RESPONSES, {"model": PRO, "models": [FLASH]}, lambda found: found["model"]),
        (
            LANGUAGE,
            {"providerOptions": {"gateway": {"models": ["openai/other", FLASH]}}},
            lambda found: found["response"]["modelId"],
        ),
    ],
)
def test_each_door_names_the_model_that_stood_in(
    alice: Any, queue: Any, monkeypatch: pytest.MonkeyPatch, path: str, body: dict[str, Any], model_of: Any
) -> None:
    with FakeChat(cached=True) as down, FakeChat(cached=True) as up:
        down.fault_for = lambda _request: Fault("503")
        road_to(down.base_url, "pro road", only_models=[PRO])
        road_to(up.base_url, "flash road", only_models=[FLASH])
        found = json.loads(b"".join(_make(alice, queue, monkeypatch, path, **body)))
    assert model_of(found) == FLASH
    assert Charge.objects.get().image_model_id == FLASH


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, {"service_tier": "flex"}),
        (IMAGES, {"service_tier": "flex"}),
        (RESPONSES, {"service_tier": "flex"}),
        (GENERATE, {"serviceTier": "flex"}),
        (LANGUAGE, {"providerOptions": {"gateway": {"serviceTier": "flex"}}}),
        (IMAGE, {"providerOptions": {"gateway": {"serviceTier": "flex"}}}),
    ],
)
def test_each_door_carries_the_flex_lane_at_half_the_price(
    alice: Any, queue: Any, monkeypatch: pytest.MonkeyPatch, path: str, body: dict[str, Any]
) -> None:
    answer = _make(alice, queue, monkeypatch, path, mode="test", **body)
    assert answer.status_code == 200, answer.content
    charge = Charge.objects.get()
    assert (charge.price.lane, charge.price_micros) == ("flex", 73_700)


@pytest.mark.django_db(transaction=True)
def test_names_of_another_service_have_no_effect_and_that_is_said(
    alice: Any, queue: Any, monkeypatch: pytest.MonkeyPatch, fakes: Any
) -> None:
    body = {"providerOptions": {"gateway": {"only": ["vertex"], "order": ["google"], "byok": {"x": []}}}}
    found = json.loads(b"".join(_make(alice, queue, monkeypatch, LANGUAGE, **body)))
    assert _taken() == ["first"]
    assert [each.get("feature") or each["message"] for each in found["warnings"]] == [
        "providerOptions.gateway.byok",
        "'vertex' in only is no name that this service knows, and has no effect.",
        "'google' in order is no name that this service knows, and has no effect.",
    ]


@pytest.mark.django_db(transaction=True)
def test_an_image_may_cost_no_more_than_the_client_says(
    alice: Any, queue: Any, monkeypatch: pytest.MonkeyPatch, fakes: Any
) -> None:
    answer = _make(alice, queue, monkeypatch, CHAT, provider={"max_price": {"image": 0.1}})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "price_above_maximum")
    assert not Generation.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_stream_says_so_too(alice: Any, queue: Any, monkeypatch: pytest.MonkeyPatch, fakes: Any) -> None:
    body = {"providerOptions": {"gateway": {"order": ["google"]}}}
    monkeypatch.setattr("generation.dialects.making.DEADLINE_SECONDS", 0.05)
    headers = _HEADERS | alice.headers("live") | {"ai-language-model-streaming": "true"}
    sent = json.dumps(_BODIES[LANGUAGE] | body)
    answer = Client().post(LANGUAGE, sent, content_type="application/json", headers=headers)
    first = streamed(answer).split(b"\n\n")[0].removeprefix(b"data: ")
    assert [each["message"] for each in json.loads(first)["warnings"]] == [
        "'google' in order is no name that this service knows, and has no effect."
    ]


@pytest.mark.django_db(transaction=True)
def test_names_of_another_service_leave_what_the_key_says(
    alice: Any, queue: Any, monkeypatch: pytest.MonkeyPatch, fakes: Any
) -> None:
    key = alice.keys["live"].api_key
    key.routing = {"only": ["second"]}
    key.save()
    _make(alice, queue, monkeypatch, CHAT, provider={"only": ["google-vertex"], "order": ["deepinfra"]})
    assert _taken() == ["second"]
    key.routing = {"only": ["gone"]}
    key.save()
    answer = _make(alice, queue, monkeypatch, CHAT, provider={"order": ["deepinfra"]})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "channel_not_found")


@pytest.mark.django_db(transaction=True)
def test_a_dear_model_behind_a_cheap_one_is_quoted_and_paid_for(
    alice: Any, queue: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeChat(cached=True) as up:
        road_to(up.base_url, "pro road", only_models=[PRO])
        _make(alice, queue, monkeypatch, CHAT, models=["imagen-4.0-fast-generate", PRO])
    charge = Charge.objects.get()
    assert (charge.quote_micros, charge.price_micros) == (147_400, 147_400)
