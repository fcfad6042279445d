"""Several workers, people and Stripe at the same moment: nobody is charged twice, and no older answer wins."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.db import connection as database

from accounts.payments import auto_recharge, disputes, following, inbox, nightly, reconciliation, rounds
from accounts.payments.models import AutoRecharge, Customer, Dispute, Payment, ReconciliationRun, Refund, StripeEvent
from accounts.payments.stripe_gateway import StripeGateway
from tests.payments.conftest import Till, wallet
from tests.payments.test_auto_recharge import autos, ready

AMOUNTS = {"threshold_micros": 5_000_000, "amount_cents": 2_000, "monthly_ceiling_cents": 10_000}


def received(till: Till) -> int:
    return sum(each["amount_received"] for each in till.fake.objects("payment_intent"))


def clear_faults(till: Till) -> None:
    with till.fake.store.book(till.clock()) as book:
        while book.take_fault("GET", "/v1/anything"):
            pass


@pytest.mark.parametrize("seconds", [(0.3, 0.3), (1.0, 0.2)], ids=["alike", "one slow"])
def test_two_workers_with_two_wallets_charge_each_once(
    till: Till,
    bob: Any,
    make_person: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    seconds: tuple[float, float],
) -> None:
    eve = make_person("eve")
    ready(till, bob)
    ready(till, eve)
    real = StripeGateway.pay_off_session
    bobs = Customer.objects.get(account=bob.account).stripe_customer_id

    def slow(self: StripeGateway, **asked: Any) -> Any:
        time.sleep(seconds[0] if asked["customer_id"] == bobs else seconds[1])
        return real(self, **asked)

    monkeypatch.setattr(StripeGateway, "pay_off_session", slow)
    barrier = threading.Barrier(2)

    def work(_: int) -> None:
        try:
            barrier.wait()
            auto_recharge.run_due(now=till.now())
        finally:
            database.close()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, range(2)))
    assert autos() == ["succeeded", "succeeded"]
    assert received(till) == 2 * 3_000


def test_what_its_owner_switched_off_stays_off_when_a_card_is_declined(
    till: Till, bob: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready(till, bob, "4000000000000341")
    real = StripeGateway.pay_off_session

    def meanwhile(self: StripeGateway, **asked: Any) -> Any:
        auto_recharge.set_up(wallet(bob), is_enabled=False, now=till.now(), **AMOUNTS)
        return real(self, **asked)

    monkeypatch.setattr(StripeGateway, "pay_off_session", meanwhile)
    auto_recharge.run_due(now=till.now())
    assert autos() == ["failed"] and not AutoRecharge.objects.get().is_enabled


def test_a_recharge_stripe_never_heard_of_is_not_made_once_it_is_unwanted(till: Till, bob: Any) -> None:
    ready(till, bob)
    till.fake.disorder.is_mute = True
    till.fake.fail_next("POST", "/v1/payment_intents", "drop", times=3)
    till.rounds(times=1)
    auto_recharge.set_up(wallet(bob), is_enabled=False, now=till.now(), **AMOUNTS)
    till.bought(bob, 5_000)
    till.rounds(seconds=31)
    assert autos() == ["expired"] and received(till) == 6_000


def test_a_payment_under_way_is_no_ceiling_reached(till: Till, bob: Any) -> None:
    ready(till, bob, monthly_ceiling_cents=2_000)
    till.fake.disorder.is_mute = True
    till.fake.fail_next("POST", "/v1/payment_intents", "drop", times=3)
    till.rounds(times=1)
    till.rounds(times=1, seconds=1)
    assert autos() == ["created"] and mail.outbox == []
    AutoRecharge.objects.update(is_enabled=False)
    till.rounds(times=1, seconds=86_400)
    next_try_at = AutoRecharge.objects.get().next_try_at
    assert autos() == ["expired"] and next_try_at is not None and next_try_at < till.now() + timedelta(hours=1)


@pytest.mark.parametrize("change", ["SECRET_KEY", "words"])
def test_a_charge_whose_answer_was_lost_is_found_although_we_would_ask_otherwise_now(
    till: Till, bob: Any, settings: Any, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """Stripe compares what is asked under a key with what was asked first, and refuses another body."""
    ready(till, bob)
    till.fake.fail_next("POST", "/v1/payment_intents", "drop_after")
    till.fake.fail_next("POST", "/v1/payment_intents", "drop", times=2)
    rounds.advance(now=till.now())
    if change == "SECRET_KEY":
        settings.SECRET_KEY = "another" * 10
    till.rounds(seconds=31)
    till.rounds(seconds=3_700)
    assert autos() == ["succeeded"] and received(till) == 3_000
    assert wallet(bob).available_micros == 21_000_000


def test_a_recharge_that_ended_is_not_begun_again_by_asking(till: Till, bob: Any) -> None:
    ready(till, bob)
    method_id = till.fake.objects("payment_method")[0]["id"]
    with till.fake.store.book(till.clock()) as book:
        method = book.get(method_id) or {}
        book.put(method | {"customer": None})
    till.rounds()
    assert autos() == ["failed"]
    with till.fake.store.book(till.clock()) as book:
        book.put(method)
    following.follow(Payment.objects.get(kind="auto"), now=till.now(), is_whole=True)
    assert received(till) == 1_000


def test_with_tax_there_is_no_automatic_recharge(till: Till, bob: Any, settings: Any) -> None:
    ready(till, bob)
    settings.NBP_STRIPE_TAX = True
    till.rounds()
    assert autos() == []
    with pytest.raises(Exception, match="tax"):
        auto_recharge.set_up(wallet(bob), is_enabled=True, now=till.now(), **AMOUNTS)
    auto_recharge.set_up(wallet(bob), is_enabled=False, now=till.now(), **(AMOUNTS | {"amount_cents": 1}))


def test_after_a_restore_no_card_is_charged_before_stripe_was_compared(till: Till, bob: Any) -> None:
    ready(till, bob)
    nightly.ask_for_one(now=till.now())
    rounds.advance(now=till.now())
    assert autos() == []
    assert nightly.run_if_due(now=till.now()) is not None
    assert ReconciliationRun.objects.get().finished_at is not None
    rounds.advance(now=till.now())
    assert autos() == ["succeeded"]


def test_an_older_answer_about_a_dispute_does_not_win(till: Till, bob: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    payment = till.bought(bob, 1_000)
    dispute = till.fake.open_dispute(payment.stripe_charge_id or "")
    till.rounds()
    real, is_first = StripeGateway.disputes_of, [True]

    def late(self: StripeGateway, intent_id: str) -> Any:
        found = real(self, intent_id)
        if is_first.pop() if is_first else False:
            till.fake.close_dispute(dispute, is_won=True)
            disputes.converge(payment, now=till.now())
        return found

    monkeypatch.setattr(StripeGateway, "disputes_of", late)
    disputes.converge(payment, now=till.now())
    row = wallet(bob)
    assert (row.available_micros, row.status, Dispute.objects.get().status) == (10_000_000, "active", "won")


def test_an_older_answer_about_a_payment_does_not_win(till: Till, bob: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    payment = till.start(bob)
    till.pay(payment, "us_bank_account_fails")
    following.follow(payment, now=till.now())
    real, is_first = StripeGateway.checkout, [True]

    def late(self: StripeGateway, session_id: str) -> Any:
        found = real(self, session_id)
        if is_first.pop() if is_first else False:
            till.fake.end_delayed(session_id, is_paid=False)
            following.follow(payment, now=till.now())
        return found

    monkeypatch.setattr(StripeGateway, "checkout", late)
    following.follow(payment, now=till.now())
    payment.refresh_from_db()
    assert payment.state == "failed"


def test_a_payment_credited_while_the_list_is_read_is_no_drift(
    till: Till, bob: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    till.bought(bob, 1_000)
    till.rounds()
    real = StripeGateway.intents

    def meanwhile(self: StripeGateway, **asked: Any) -> Any:
        yield from list(real(self, **asked))
        till.bought(bob, 2_000)

    monkeypatch.setattr(StripeGateway, "intents", meanwhile)
    report = reconciliation.reconcile(now=till.now())
    assert report.is_clean, report.differences


def test_an_event_nobody_foresaw_does_not_stop_the_others(
    till: Till, bob: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    till.pay(till.start(bob))
    till.send_events()
    with monkeypatch.context() as patched:
        patched.setattr(StripeGateway, "checkout", lambda *_: 1 / 0)
        rounds.advance(now=till.now())
    assert "ZeroDivisionError" in StripeEvent.objects.exclude(error="").first().error
    till.rounds(seconds=60)
    assert wallet(bob).available_micros == 10_000_000


def test_events_that_were_given_up_are_taken_up_in_the_night(till: Till, bob: Any) -> None:
    """Stripe cannot be asked for half a day; meanwhile an old payment is disputed."""
    payment = till.bought(bob, 1_000)
    till.rounds()
    till.clock.ahead_seconds += 40 * 86_400
    till.fake.open_dispute(payment.stripe_charge_id or "")
    till.send_events()
    till.fake.fail_next("GET", "/v1/", "500", times=400)
    for _ in range(14):
        till.clock.ahead_seconds += 3_700
        inbox.work_off(now=till.now())
    assert StripeEvent.objects.filter(processed_at=None, next_try_at=None).exists()
    clear_faults(till)
    assert reconciliation.reconcile(now=till.now()).is_clean
    assert wallet(bob).status == "frozen"


def test_an_account_that_is_closed_later_keeps_what_it_had(till: Till, bob: Any) -> None:
    from accounts.models import Account

    till.bought(bob, 1_000)
    till.rounds()
    Account.objects.filter(pk=bob.account.pk).update(status="closed")
    for row in StripeEvent.objects.all():
        inbox.replay(row, now=till.now())
    till.rounds(seconds=61)
    assert not Refund.objects.exists()
