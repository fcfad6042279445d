"""Keys that accounts bring along: used for their images alone, at the fee alone, and seen by nobody."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.utils import timezone

from generation.channels import registry
from generation.channels.adapters.openai_chat import adapter as chat
from generation.channels.fakes.faults import Fault
from generation.channels.models import Channel
from generation.models import Attempt, Charge, Output, Price
from tests.upstreams.openai_service import FakeChat
from tests.upstreams.roads import road_to

pytestmark = pytest.mark.usefixtures("audited")

CANARY = "sk-or-v1-canary-quetzalcoatlus-0123456789"
PRICE = 147_400


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeChat]:
    """OpenRouter itself: a key without an address leads here."""
    with FakeChat(cached=True, cost=0.14) as found:
        monkeypatch.setattr(chat, "ORIGIN", found.base_url)
        yield found


@pytest.fixture
def house(provider: FakeChat) -> Iterator[FakeChat]:
    """Another one, to which the house's own channel leads."""
    with FakeChat(cached=True) as found:
        road_to(found.base_url, "house", secret="sk-of-the-house")
        yield found


def _page(person: Any) -> Client:
    client = Client()
    client.force_login(person.user)
    return client


def _bring(person: Any, **fields: Any) -> Any:
    return _page(person).post("/own-keys/add/", {"kind": "openai_chat", "key": CANARY, **fields})


def _make(api: Any, person: Any, queue: Any, mode: str = "live") -> Any:
    made = api(person, "POST", "generations", {"prompt": "a lighthouse", "image_size": "1K"}, mode=mode)
    assert made.status_code == 202, made.content
    queue.run_to_the_end()
    return api(person, "GET", f"generations/{made.json()['id']}", mode=mode).json()


def test_an_own_key_serves_its_account_alone_and_costs_the_fee(
    api: Any, alice: Any, make_person: Any, queue: Any, provider: FakeChat, house: FakeChat
) -> None:
    assert _bring(alice).status_code == 302
    found = _make(api, alice, queue)
    assert (found["status"], found["quote_micros"], found["price_micros"]) == ("succeeded", 0, 0)
    assert [each.headers["authorization"] for each in provider.requests] == [f"Bearer {CANARY}"]
    assert (Charge.objects.get().cost_micros, Attempt.objects.get().cost_micros) == (0, 0)
    carol = make_person("carol", live_micros=1_000_000)
    assert _make(api, carol, queue)["price_micros"] == PRICE
    assert [each.headers["authorization"] for each in house.requests] == ["Bearer sk-of-the-house"]
    assert _make(api, alice, queue, "test")["outputs"][0]["attempts"][0]["channel"] == "sandbox"
    assert len(provider.requests) == 1


def test_the_operator_can_ask_a_fee(api: Any, alice: Any, queue: Any, provider: FakeChat) -> None:
    Price.objects.update(own_key_micros=5_000)
    _bring(alice)
    found = _make(api, alice, queue)
    assert (found["quote_micros"], found["price_micros"]) == (5_000, 5_000)


def test_a_refused_key_is_not_replaced_by_the_house_unless_that_is_allowed(
    api: Any, alice: Any, queue: Any, provider: FakeChat, house: FakeChat
) -> None:
    _bring(alice)
    provider.fault_for = lambda _request: Fault("401")
    assert _make(api, alice, queue)["status"] == "failed"
    refused = api(alice, "POST", "generations", {"prompt": "x"}, mode="live")
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "no_channel_available")
    assert "refused by the provider" in _page(alice).get("/own-keys/").content.decode()
    assert house.requests == []
    _bring(alice, is_house_allowed="on")
    found = _make(api, alice, queue)
    assert (found["quote_micros"], found["price_micros"]) == (PRICE, PRICE)
    assert [each["channel"] for each in found["outputs"][0]["attempts"]][-1] == "house"


def test_with_the_house_behind_it_an_own_key_still_costs_the_fee(
    api: Any, alice: Any, queue: Any, provider: FakeChat, house: FakeChat
) -> None:
    _bring(alice, is_house_allowed="on")
    found = _make(api, alice, queue)
    assert (found["quote_micros"], found["price_micros"], house.requests) == (PRICE, 0, [])


def test_a_removed_key_is_forgotten_and_the_house_serves_again(
    api: Any, alice: Any, queue: Any, provider: FakeChat, house: FakeChat
) -> None:
    _bring(alice)
    assert _page(alice).post("/own-keys/openai_chat/remove/").status_code == 302
    assert Channel.objects.get(account=alice.account).sealed_secret == ""
    assert _make(api, alice, queue)["price_micros"] == PRICE


@pytest.mark.parametrize("key", ["", "  ", "has a blank", "schlüssel", "line\nbreak"])
def test_what_is_no_key_is_refused_and_not_shown_again(alice: Any, key: str) -> None:
    answer = _bring(alice, key=key)
    assert answer.status_code == 422
    assert not Channel.objects.filter(account=alice.account).exists()
    if key.strip():
        assert key not in answer.content.decode()


def test_only_owners_bring_and_remove_keys(alice: Any, bob: Any) -> None:
    _bring(alice)
    _page(bob).post("/own-keys/openai_chat/remove/")
    assert Channel.objects.get(account=alice.account).sealed_secret
    assert Client().post("/own-keys/add/", {"kind": "bfl", "key": "x"}).status_code == 302
    assert not Channel.objects.filter(kind="bfl").exists()


def test_the_database_refuses_an_attempt_of_one_account_with_anothers_key(
    api: Any, alice: Any, make_person: Any, queue: Any, provider: FakeChat, house: FakeChat
) -> None:
    _bring(alice)
    carol = make_person("carol", live_micros=1_000_000)
    _make(api, carol, queue)
    output, own = Output.objects.get(account=carol.account), Channel.objects.get(account=alice.account)
    with pytest.raises(IntegrityError, match="own account"), transaction.atomic():
        Attempt.objects.create(output=output, number=9, channel=own, lease_number=9, started_at=timezone.now())
    with pytest.raises(IntegrityError), transaction.atomic():
        Channel.objects.filter(pk=own.pk).update(base_url="https://elsewhere.example")


def _rows() -> Iterator[str]:
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT * FROM "{table}"')
            for row in cursor.fetchall():
                yield f"{table}: {row}"


def test_the_key_is_in_no_table_page_answer_or_log(
    api: Any, alice: Any, queue: Any, provider: FakeChat, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    _bring(alice)
    told = [str(_make(api, alice, queue))]
    for name in ("401", "503", "400", "close", "html"):
        provider.fault_for = lambda _request, name=name: Fault(name)  # type: ignore[misc]
        Channel.objects.filter(account=alice.account).update(disabled_reason="", cool_until=None, model_health={})
        told.append(str(_make(api, alice, queue)))
    told.append(_page(alice).get("/own-keys/").content.decode())
    assert len(provider.requests) > 5
    assert [line for line in (*_rows(), *told, caplog.text) if CANARY in line] == []


def test_a_broken_own_key_opens_no_road_of_the_house_by_way_of_another_model(
    api: Any, alice: Any, queue: Any, provider: FakeChat, house: FakeChat
) -> None:
    _bring(alice)
    provider.fault_for = lambda _request: Fault("401")
    assert _make(api, alice, queue)["status"] == "failed"
    Channel.objects.filter(account=None).update(only_models=["gemini-3-pro-image", "flux-2-pro"])
    registry.forget()
    body = {"prompt": "x", "model": "gemini-3-pro-image", "routing": {"fallback_models": ["flux-2-pro"]}}
    refused = api(alice, "POST", "generations", body, mode="live")
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "no_channel_available")
    assert house.requests == []


def test_what_was_quoted_for_an_own_key_is_not_made_by_the_house_when_the_key_is_gone(
    api: Any, alice: Any, queue: Any, provider: FakeChat, house: FakeChat
) -> None:
    _bring(alice)
    made = api(alice, "POST", "generations", {"prompt": "x", "image_size": "1K"}, mode="live").json()
    assert made["quote_micros"] == 0
    Channel.objects.filter(account=alice.account).update(disabled_reason="unauthorized: it was taken back")
    Channel.objects.filter(account=alice.account).update(account=None, is_enabled=False)
    registry.forget()
    queue.run_to_the_end()
    found = api(alice, "GET", f"generations/{made['id']}", mode="live").json()
    assert (found["status"], found["price_micros"], house.requests) == ("failed", 0, [])
