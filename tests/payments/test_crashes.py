"""A process dies at each place where it leaves other rows behind than before: the next round ends what was begun, once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from django.db import OperationalError

from accounts import crash_points
from accounts.payments import refunds, rounds, top_ups
from accounts.payments.models import Payment, Refund
from tests.payments.conftest import Till, entries, wallet
from tests.payments.test_auto_recharge import ready
from tests.payments.test_webhooks import post


class Death(BaseException):
    """Nothing after this line runs, as after `kill -9`; the open transaction is undone, as by the database."""


@contextmanager
def dying_at(point: str) -> Iterator[None]:
    def die(name: str) -> None:
        if name == point:
            raise Death

    stop = crash_points.watch(die)
    try:
        with pytest.raises(Death):
            yield
    finally:
        stop()


TOP_UP = ("top_up.written", "top_up.opened")
SETTLED = ("payment.settling", "payment.settled")
AUTO = ("auto.written", "auto.paid", "payment.settling", "payment.settled")
REFUND = ("refund.written", "refund.sent")


def test_every_crash_point_is_tried() -> None:
    assert {*TOP_UP, *SETTLED, *AUTO, *REFUND, "event.kept"} == set(crash_points.PAYMENT_NAMES)


@pytest.mark.parametrize("point", TOP_UP)
def test_a10_a_top_up_whose_process_died_is_one_page(till: Till, bob: Any, point: str) -> None:
    with dying_at(point):
        till.start(bob)
    till.rounds(seconds=61)
    payment = Payment.objects.get()
    assert payment.state == "open"
    assert [each["id"] for each in till.fake.objects("checkout.session")] == [payment.stripe_session_id]
    till.pay(payment)
    till.rounds()
    assert entries(bob) == [("top_up", 10_000_000)]


@pytest.mark.parametrize("point", SETTLED)
def test_a_credit_whose_process_died_is_given_once(till: Till, bob: Any, point: str) -> None:
    payment = till.start(bob)
    till.pay(payment)
    with dying_at(point):
        top_ups.converge(payment.pk, now=till.now())
    till.rounds()
    assert entries(bob) == [("top_up", 10_000_000)]


@pytest.mark.parametrize("point", AUTO)
def test_a_recharge_whose_process_died_charges_once(till: Till, bob: Any, point: str) -> None:
    ready(till, bob)
    till.fake.disorder.is_mute = True
    with dying_at(point):
        rounds.advance(now=till.now())
    till.rounds(seconds=31)
    till.rounds(seconds=31)
    assert [each.state for each in Payment.objects.filter(kind="auto")] == ["succeeded"]
    assert sum(each["amount"] for each in till.fake.objects("payment_intent")) == 3_000
    assert wallet(bob).available_micros == 21_000_000


@pytest.mark.parametrize("point", REFUND)
def test_a_refund_whose_process_died_is_sent_once(till: Till, bob: Any, point: str) -> None:
    payment = till.bought(bob, 1_000)
    with dying_at(point):
        refunds.request(payment.pk, cents=400, actor="o", reason="r", now=till.now())
    assert wallet(bob).available_micros == 6_000_000
    till.rounds(seconds=61)
    assert Refund.objects.get().state == "succeeded"
    assert [each["amount"] for each in till.fake.objects("refund")] == [400]
    assert wallet(bob).available_micros == 6_000_000


def test_an_event_whose_process_died_is_followed(till: Till, bob: Any) -> None:
    payment = till.start(bob)
    till.pay(payment)
    sent: list[tuple[bytes, dict[str, str]]] = []
    till.fake.advance(lambda _, body, headers: sent.append((body, headers)) or 200)
    for body, headers in sent:
        with dying_at("event.kept"):
            post(body, headers["Stripe-Signature"])
    rounds.advance(now=till.now())
    assert entries(bob) == [("top_up", 10_000_000)]


@pytest.mark.parametrize("is_committed", [False, True])
def test_c1_a_connection_lost_around_the_commit_credits_once(
    till: Till, bob: Any, monkeypatch: pytest.MonkeyPatch, is_committed: bool
) -> None:
    payment = till.start(bob)
    till.pay(payment)
    point = "payment.settled" if is_committed else "payment.settling"

    def lose(name: str) -> None:
        if name == point:
            raise OperationalError("server closed the connection unexpectedly")

    stop = crash_points.watch(lose)
    with suppress(OperationalError):
        top_ups.converge(payment.pk, now=till.now())
    stop()
    till.rounds(seconds=61)
    assert entries(bob) == [("top_up", 10_000_000)]
