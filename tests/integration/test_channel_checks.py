"""What providers are asked for nothing, now and then: is the key good, is money left, are our models still offered."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from generation.channels import checking, registry
from generation.channels.fakes.gemini import FakeGemini
from generation.channels.fakes.http import json_reply
from generation.channels.fakes.server import FakeUpstream
from generation.channels.models import Channel
from generation.models import Attempt, ImageModel
from nbp_site.operating import gauges
from tests.upstreams.ai_gateway import FakeAiGateway
from tests.upstreams.bfl import FakeBfl
from tests.upstreams.openai_service import FakeChat, FakeImages
from tests.upstreams.roads import road_to
from tests.upstreams.vertex import PROJECT, SECRET, FakeVertex, service_account

pytestmark = [pytest.mark.django_db(transaction=True)]
PRO = "gemini-3-pro-image"
OPENAI_NAMES = ["google/gemini-3-pro-image"]


@pytest.fixture
def play() -> Iterator[Callable[[FakeUpstream], Any]]:
    """play(fake) starts a fake that ends with the test."""
    with ExitStack() as stack:
        yield stack.enter_context


def _openai(fake: Any) -> Any:
    fake.models = OPENAI_NAMES
    return fake


# Kind of channel -> its fake, what follows its address, and what a check of it finds.
KINDS: dict[str, tuple[Callable[[], Any], str, str, int | None]] = {
    "gemini": (lambda: FakeGemini(cached=True), "", "offers its models", None),
    "gemini_batch": (lambda: FakeGemini(cached=True), "", "offers its models", None),
    "vertex": (lambda: FakeVertex(cached=True), "", "offers its models", None),
    "openai_chat": (lambda: _openai(FakeChat(cached=True)), "/v1", "offers its models", None),
    "openai_images": (lambda: _openai(FakeImages(cached=True)), "/v1", "offers its models", None),
    "ai_gateway": (lambda: FakeAiGateway(cached=True), "", "offers its models; $95.50 left", 95_500_000),
    "bfl": (lambda: FakeBfl(cached=True), "", "names no models; $12.3450 left", 12_345_000),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def test_every_kind_that_leads_somewhere_is_asked() -> None:
    silent = {"sandbox", "cache", "placeholder"}
    assert set(KINDS) | silent == set(registry.ADAPTERS)


def _channel(kind: str, fake: Any, **fields: Any) -> Channel:
    models = {"only_models": ["flux-2-pro" if kind == "bfl" else PRO]}
    secret = {"secret": SECRET} if kind == "vertex" else {}
    return road_to(fake.base_url + KINDS[kind][1], kind, kind=kind, **{**models, **secret, **fields})


def _check(channel: Channel) -> Channel:
    checking.check(channel, now=datetime.now(UTC))
    return Channel.objects.get(pk=channel.pk)


@every_kind
def test_what_each_provider_says(kind: str, play: Any) -> None:
    fake = play(KINDS[kind][0]())
    if kind in ("openai_chat", "openai_images"):
        ImageModel.objects.filter(pk=PRO).update(upstream_names={kind: OPENAI_NAMES[0]})
    row = _check(_channel(kind, fake))
    assert (row.check_words, row.balance_micros) == KINDS[kind][2:]
    assert row.checked_at is not None
    assert fake.requests == [], "nobody was asked for a picture"
    assert not Attempt.objects.exists()


def test_a_service_accounts_token_is_tried_as_well(play: Any) -> None:
    fake = play(FakeVertex(cached=True))
    options = {"project": PROJECT}
    row = _check(_channel("vertex", fake, secret=service_account(fake.base_url), options=options))
    assert row.check_words == "offers its models"
    assert len(fake.token_requests) == 1


@every_kind
def test_a_wrong_key_switches_the_channel_off_before_a_prompt_meets_it(
    kind: str, play: Any, caplog: pytest.LogCaptureFixture
) -> None:
    fake = play(KINDS[kind][0]())
    fake.respond = lambda *_: _status(401)
    row = _check(_channel(kind, fake))
    assert row.disabled_reason.startswith("unauthorized: 401")
    assert any("is switched off" in each.message and each.levelno == logging.ERROR for each in caplog.records)
    assert "sk-a-made-up-secret" not in row.disabled_reason + row.check_words + caplog.text


def test_google_says_of_a_wrong_key_that_the_request_is(play: Any) -> None:
    fake = play(FakeGemini(cached=True))
    wrong = {"code": 400, "message": "API key not valid.", "status": "INVALID_ARGUMENT"}
    details = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}]
    fake.respond = lambda *_: json_reply(400, {"error": wrong | {"details": details}})
    assert _check(_channel("gemini", fake)).disabled_reason.startswith("unauthorized: 400")


def test_a_key_that_was_entered_meanwhile_is_not_switched_off_for_the_old_one(play: Any) -> None:
    fake = play(FakeBfl(cached=True))
    fake.respond = lambda *_: _status(401)
    channel = _channel("bfl", fake)
    fresh = Channel.objects.get(pk=channel.pk)
    fresh.set_secret("another secret")
    fresh.save()
    assert _check(channel).disabled_reason == ""


def test_one_channel_that_cannot_be_asked_keeps_no_other_from_it(play: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fakes = [play(FakeBfl(cached=True)) for _ in range(3)]
    for number, fake in enumerate(fakes):
        road_to(fake.base_url, f"bfl {number}", kind="bfl", only_models=["flux-2-pro"])
    ask = checking._ask

    def fails_once(channel: Channel) -> Any:
        if channel.name == "bfl 0":
            raise OSError("the disk is full")
        return ask(channel)

    monkeypatch.setattr(checking, "_ask", fails_once)
    assert checking.check_due(now=datetime.now(UTC)) == 3
    assert sorted(Channel.objects.exclude(balance_micros=None).values_list("name", flat=True)) == ["bfl 1", "bfl 2"]


@every_kind
@pytest.mark.parametrize("status", [403, 404, 429, 500, 503])
def test_what_is_no_word_about_the_key_leaves_it_open(kind: str, status: int, play: Any) -> None:
    fake = play(KINDS[kind][0]())
    fake.respond = lambda *_: _status(status)
    row = _check(_channel(kind, fake))
    assert (row.disabled_reason, row.cool_until, row.model_health) == ("", None, {})
    assert row.check_words


def _status(status: int) -> Any:
    return json_reply(status, {"error": {"message": "no", "type": "no"}, "detail": "no"})


@every_kind
def test_nobody_there_says_nothing_of_the_channel(kind: str) -> None:
    channel = road_to("http://127.0.0.1:9", kind, kind=kind, **({"secret": SECRET} if kind == "vertex" else {}))
    row = _check(channel)
    assert row.disabled_reason == ""
    assert row.check_words.startswith("unreachable: ")


def test_a_model_that_is_no_longer_offered_is_said_once(play: Any, caplog: pytest.LogCaptureFixture) -> None:
    fake = play(FakeGemini(cached=True))
    channel = road_to(fake.base_url, "google", kind="gemini", upstream_models={PRO: "gemini-3-pro-image-preview"})
    row = _check(channel)
    assert row.check_words.startswith("does not offer gemini-3-pro-image")
    _check(row)
    assert len([each for each in caplog.records if "does not offer" in each.message]) == 1


@pytest.mark.parametrize(("left", "alerts"), [(49.5, 0), (9.99, 1), (0, 1), (-0.2, 1)])
def test_the_money_that_is_left_at_openrouter(
    left: float, alerts: int, play: Any, caplog: pytest.LogCaptureFixture
) -> None:
    fake = _openai(play(FakeChat(cached=True)))
    fake.left = left
    row = _check(road_to(f"{fake.base_url}/api/v1", "openrouter", only_models=[PRO]))
    assert row.balance_micros == int(left * 1_000_000)
    assert row.disabled_reason == "", "only a call tells whether it still serves"
    assert len([each for each in caplog.records if each.levelno == logging.ERROR]) == alerts
    _check(row)
    assert len([each for each in caplog.records if each.levelno == logging.ERROR]) == alerts, "said once"
    figure = f'nbp_channel_balance_micros{{channel="openrouter",mode="live"}} {float(row.balance_micros)}'
    assert figure in "\n".join(_figures())


def _figures() -> list[str]:
    return [
        f'{sample.name}{{channel="{sample.labels["channel"]}",mode="{sample.labels["mode"]}"}} {float(sample.value)}'
        for family in gauges._channels()
        for sample in family.samples
    ]


def test_each_channel_is_asked_once_in_a_while_by_one_worker(play: Any, settings: Any) -> None:
    settings.NBP_CHANNEL_CHECK_SECONDS = 600
    fake = play(FakeBfl(cached=True))
    _channel("bfl", fake)
    road_to(fake.base_url, "off", kind="bfl", is_enabled=False)
    road_to(fake.base_url, "faulty", kind="bfl", disabled_reason="unauthorized: 401")
    now = datetime.now(UTC)
    stale = Channel.objects.get(name="bfl")
    assert [checking.check_due(now=now), checking.check_due(now=now)] == [1, 0]
    assert not checking._marked(stale, now), "another worker was quicker"
    assert checking.check_due(now=now + timedelta(seconds=599)) == 0
    assert checking.check_due(now=now + timedelta(seconds=600)) == 1
    settings.NBP_CHANNEL_CHECK_SECONDS = 0
    assert checking.check_due(now=now + timedelta(days=1)) == 0


def test_the_buttons_of_a_channels_page(play: Any, admin_client: Any, client: Any) -> None:
    fake = _openai(play(FakeChat(cached=True)))
    fake.left = 20
    channel = road_to(f"{fake.base_url}/api/v1", "openrouter", only_models=[PRO])
    page = f"/admin/channels/channel/{channel.pk}/"
    shown = admin_client.get(f"{page}change/").content.decode()
    for name in ("check", "test"):
        assert f'formaction="{page}{name}/"' in shown
        assert admin_client.get(f"{page}{name}/").status_code == 405
        assert client.post(f"{page}{name}/").status_code == 302, "to the log-in"
    told = admin_client.post(f"{page}check/", follow=True).content.decode()
    assert "Channel openrouter: offers its models; $20.00 left." in told
    assert fake.requests == []
    told = admin_client.post(f"{page}test/", follow=True).content.decode()
    assert "Channel openrouter works: an image of 1024 x 1024 pixels" in told
    assert len(fake.requests) == 1
    assert fake.requests[0].body["model"] == OPENAI_NAMES[0]
