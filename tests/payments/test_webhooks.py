"""Stripe's door: what is Stripe's is kept once, and everything else is a 400 that leaves no row."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from django.test import Client

from accounts.payments import inbox
from accounts.payments.models import StripeEvent
from tests.payments.conftest import Till, entries

EVENT = {
    "id": "evt_made_up",
    "object": "event",
    "type": "checkout.session.completed",
    "api_version": "2026-10-28.endive",
    "created": 1_795_000_000,
    "livemode": False,
    "data": {"object": {"id": "cs_test_unknown", "object": "checkout.session"}},
}


def post(body: bytes, signature: str | None) -> Any:
    headers = {} if signature is None else {"stripe-signature": signature}
    return Client().post("/webhooks/stripe", body, content_type="application/json", headers=headers)


def test_a_signed_event_is_kept_once_and_a_repetition_is_taken(till: Till) -> None:
    body, signature = till.signed(EVENT)
    assert [post(body, signature).status_code for _ in range(3)] == [200, 200, 200]
    assert StripeEvent.objects.get().payload == body.decode()


def test_an_event_of_nothing_of_ours_is_kept_and_done(till: Till) -> None:
    post(*till.signed(EVENT))
    till.rounds()
    assert StripeEvent.objects.get().processed_at is not None


@pytest.mark.parametrize("offset", [-301, -86_400, 301, 10**6])
def test_f5_too_old_or_from_the_future(till: Till, offset: int) -> None:
    assert post(*till.signed(EVENT, at=time.time() + offset)).status_code == 400
    assert not StripeEvent.objects.exists()


def test_f5_another_secret(till: Till) -> None:
    assert post(*till.signed(EVENT, secret="whsec_of_somebody")).status_code == 400
    assert not StripeEvent.objects.exists()


@pytest.mark.parametrize(
    "signature",
    [
        None,
        "",
        "t=",
        "v1=",
        "t=x,v1=y",
        "t=1,v1=é",
        "t=1" * 10_000,
        "t=99999999999999999999,v1=aa",
        "t=-1,v1=aa",
        ",,=,",
    ],
)
def test_f5_malformed_signatures(till: Till, signature: str | None) -> None:
    assert post(json.dumps(EVENT).encode(), signature).status_code == 400
    assert not StripeEvent.objects.exists()


@pytest.mark.parametrize(
    "body",
    [
        b"\xff\xfe\x00",
        b"[]",
        b'["evt_1"]',
        b"null",
        b"1",
        b'"evt_1"',
        b"{}",
        b"{",
        b'{"object": "event"}',
        b'{"id": "evt_1", "object": "v2.core.event", "type": "v1.billing.meter.no_meter_found"}',
        b'{"id": "evt_1", "object": "event", "type": "x", "created": "soon", "livemode": 1, "data": {"object": {}}}',
        b'{"id": "evt_1", "object": "event", "type": "x", "created": 1, "livemode": false, "data": []}',
        b'{"id": 7, "object": "event", "type": "x", "created": 1, "livemode": false, "data": {"object": {}}}',
        b"[" * 5_000 + b"]" * 5_000,
    ],
)
def test_f5_well_signed_nonsense_is_400(till: Till, body: bytes) -> None:
    """The signature fits; it is not an event all the same."""
    import hashlib
    import hmac

    at = int(time.time())
    mac = hmac.new(till.fake.webhook_secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    assert post(body, f"t={at},v1={mac}").status_code == 400
    assert not StripeEvent.objects.exists()


def test_f5_a_body_that_was_changed(till: Till) -> None:
    body, signature = till.signed(EVENT)
    assert post(body.replace(b"completed", b"expired  "), signature).status_code == 400


def test_other_methods_and_empty_bodies_are_refused(till: Till) -> None:
    assert Client().get("/webhooks/stripe").status_code == 405
    assert post(b"", "t=1,v1=a").status_code == 400
    assert post(b"x" * 1_000_001, "t=1,v1=a").status_code == 400


def test_f5_two_secrets_are_in_force_while_one_is_rotated(till: Till, monkeypatch: pytest.MonkeyPatch) -> None:
    from accounts.payments import connection
    from accounts.payments.connection import Connection
    from accounts.payments.stripe_gateway import Verifier

    both = Connection(till.gateway, Verifier(["whsec_old", "whsec_new"]))
    monkeypatch.setattr(connection, "current", lambda: both)
    for number, secret in enumerate(("whsec_old", "whsec_new")):
        event = EVENT | {"id": f"evt_{number}"}
        assert post(*till.signed(event, secret=secret)).status_code == 200
    assert post(*till.signed(EVENT, secret="whsec_older")).status_code == 400


def test_f6_a_replay_a_day_later_is_refused_and_a_known_event_changes_nothing(till: Till, bob: Any) -> None:
    till.bought(bob)
    till.rounds()
    before = entries(bob)
    for body, headers in till.events:
        assert post(body, headers["Stripe-Signature"]).status_code == 200
    till.rounds()
    for row in StripeEvent.objects.all():
        inbox.replay(row, now=till.now())
    till.rounds()
    assert entries(bob) == before
    old = till.signed(json.loads(till.events[0][0]), at=time.time() - 86_400)
    assert post(*old).status_code == 400


def test_f12_an_event_of_another_version_is_kept_and_its_money_is_right(
    till: Till, bob: Any, caplog: pytest.LogCaptureFixture
) -> None:
    till.fake.disorder.api_version = "2017-08-15"
    till.pay(till.start(bob))
    till.rounds()
    assert entries(bob) == [("top_up", 10_000_000)]
    assert "in version 2017-08-15" in caplog.text


def test_an_event_waits_while_stripe_is_down_and_is_followed_later(till: Till, bob: Any) -> None:
    payment = till.start(bob)
    till.pay(payment)
    till.fake.fail_next("GET", "/v1/", "500", times=60)
    till.rounds(times=1)
    assert entries(bob) == [] and StripeEvent.objects.exclude(error="").exists()
    with till.fake.store.book(till.clock()) as book:
        while book.take_fault("GET", "/v1/anything"):
            pass
    till.rounds(seconds=60)
    assert entries(bob) == [("top_up", 10_000_000)]


def test_events_in_the_wrong_order_and_late_come_to_the_same(till: Till, bob: Any) -> None:
    till.fake.disorder.is_reversed = True
    till.fake.disorder.delay_seconds = 30
    payment = till.start(bob)
    till.pay(payment)
    till.rounds()
    assert entries(bob) == []
    till.rounds(seconds=31)
    assert entries(bob) == [("top_up", 10_000_000)]
