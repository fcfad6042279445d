"""From card to ledger: a top-up is credited once, when it is paid and everything agrees, and never otherwise."""

from __future__ import annotations

from typing import Any

import pytest

from accounts.payments import following, inbox, terms, top_ups
from accounts.payments.models import BonusStep, Payment, StripeEvent
from tests.payments.conftest import Till, entries, wallet


def test_a_paid_top_up_is_in_the_wallet_of_its_own_mode(till: Till, bob: Any) -> None:
    payment = till.bought(bob, 1_000)
    assert wallet(bob).available_micros == 10_000_000
    assert wallet(bob, "live").available_micros == 0
    assert entries(bob) == [("top_up", 10_000_000)]
    assert payment.method == "visa 4242" and payment.receipt_url and payment.invoice_url and payment.card_fingerprint


def test_nothing_is_credited_before_it_is_paid(till: Till, bob: Any) -> None:
    payment = till.start(bob)
    assert following.follow(payment, now=till.now()).state == "open"
    assert till.pay(payment, "4000000000000002") == "generic_decline"
    assert following.follow(payment, now=till.now()).state == "open"
    assert entries(bob) == []


def test_return_page_webhook_and_poller_together_credit_once(till: Till, bob: Any) -> None:
    payment = till.start(bob)
    till.pay(payment)
    following.follow(payment, now=till.now())
    till.rounds()
    till.rounds(seconds=120)
    assert entries(bob) == [("top_up", 10_000_000)]
    assert StripeEvent.objects.filter(processed_at=None).count() == 0


def test_f4_without_any_webhook_the_poller_credits(till: Till, bob: Any) -> None:
    till.fake.disorder.is_mute = True
    till.pay(till.start(bob))
    till.rounds(seconds=61)
    assert entries(bob) == [("top_up", 10_000_000)]
    assert not StripeEvent.objects.exists()


def test_a_bonus_is_promotional_and_comes_with_the_top_up(till: Till, bob: Any) -> None:
    BonusStep.objects.create(minimum_cents=10_000, percent=16, credit_days=90)
    BonusStep.objects.create(minimum_cents=2_000, percent=5)
    till.bought(bob, 10_000)
    till.bought(bob, 1_000)
    assert entries(bob) == [("top_up", 100_000_000), ("grant", 16_000_000), ("top_up", 10_000_000)]
    lot = wallet(bob).lots.get(kind="promotional")
    assert lot.expires_at is not None and (lot.expires_at - lot.created_at).days == 90


@pytest.mark.parametrize("cents", [0, -500, 499, 100_001, 10**15])
def test_amounts_out_of_bounds_start_nothing(till: Till, bob: Any, cents: int) -> None:
    with pytest.raises(terms.TopUpRefused):
        till.start(bob, cents)
    assert not Payment.objects.exists() and till.fake.heard == []


def test_f3_a_delayed_method_is_credited_when_its_money_comes(till: Till, bob: Any) -> None:
    payment = till.start(bob)
    till.pay(payment, "us_bank_account")
    till.rounds()
    payment.refresh_from_db()
    assert payment.state == "processing" and entries(bob) == []
    till.rounds(seconds=10)
    payment.refresh_from_db()
    assert payment.state == "succeeded" and entries(bob) == [("top_up", 10_000_000)]


def test_f3_a_delayed_method_that_fails_costs_nothing(till: Till, bob: Any) -> None:
    payment = till.start(bob)
    till.pay(payment, "us_bank_account_fails")
    till.rounds()
    till.rounds(seconds=10)
    payment.refresh_from_db()
    assert payment.state == "failed" and payment.error and entries(bob) == []


def test_a_page_that_was_left_expires(till: Till, bob: Any) -> None:
    payment = till.start(bob)
    till.rounds(seconds=46 * 60)
    payment.refresh_from_db()
    assert payment.state == "expired" and payment.checkout_url == "" and payment.next_check_at is None


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("checkout.session", {"amount_subtotal": 100, "amount_total": 100}),
        ("checkout.session", {"currency": "eur"}),
        ("checkout.session", {"livemode": True}),
        ("checkout.session", {"customer": "cus_somebody_else"}),
        ("checkout.session", {"metadata": {"payment_id": "pay_00000000000000000000000000"}}),
        ("payment_intent", {"amount_received": 1}),
        ("payment_intent", {"currency": "jpy"}),
        ("payment_intent", {"livemode": True}),
        ("payment_intent", {"customer": None}),
        ("payment_intent", {"metadata": {}}),
    ],
)
def test_f8_what_does_not_agree_is_blocked_and_not_credited(
    till: Till, bob: Any, kind: str, change: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    payment = till.start(bob)
    till.pay(payment)
    found = till.fake.objects(kind)[0]
    till.fake.change(found["id"], **change)
    found_payment = following.follow(payment, now=till.now())
    assert found_payment.state == "blocked" and found_payment.error_code == "mismatch"
    assert entries(bob) == [] and "is blocked" in caplog.text


def test_f1_one_event_five_times_at_once_is_kept_and_credited_once(till: Till, bob: Any) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from django.db import connection as database

    till.pay(till.start(bob))
    till.fake.disorder.copies = 5
    till.send_events()

    def again(_: int) -> None:
        try:
            for body, headers in till.events:
                inbox.take(body, headers["Stripe-Signature"], now=till.now())
            inbox.work_off(now=till.now())
        finally:
            database.close()

    with ThreadPoolExecutor(5) as pool:
        list(pool.map(again, range(5)))
    till.rounds()
    assert entries(bob) == [("top_up", 10_000_000)]
    assert StripeEvent.objects.filter(type="checkout.session.completed").count() == 1


def test_f16_stripe_down_at_the_start_is_said_and_makes_nothing_twice(till: Till, bob: Any) -> None:
    for kind in ("drop", "500", "429"):
        till.fake.fail_next("POST", "/v1/checkout/sessions", kind, times=3)
        with pytest.raises(top_ups.TopUpUnavailable):
            till.start(bob)
    assert till.fake.objects("checkout.session") == []
    assert {each.state for each in Payment.objects.all()} == {"created"}


def test_a10_a_page_that_was_made_unseen_is_found_by_the_same_key(till: Till, bob: Any) -> None:
    till.fake.fail_next("POST", "/v1/checkout/sessions", "drop_after")
    till.fake.fail_next("POST", "/v1/checkout/sessions", "drop", times=2)
    with pytest.raises(top_ups.TopUpUnavailable):
        till.start(bob)
    till.rounds(seconds=61)
    payment = Payment.objects.get()
    assert payment.state == "open"
    assert [each["id"] for each in till.fake.objects("checkout.session")] == [payment.stripe_session_id]


def test_one_retry_of_the_sdk_is_the_same_page(till: Till, bob: Any) -> None:
    till.fake.fail_next("POST", "/v1/checkout/sessions", "500_after")
    payment = till.start(bob)
    assert [each["id"] for each in till.fake.objects("checkout.session")] == [payment.stripe_session_id]


def test_h12_cards_cannot_be_tried_one_after_the_other(till: Till, bob: Any, settings: Any) -> None:
    settings.NBP_TOP_UPS_PER_HOUR = 3
    for _ in range(3):
        till.start(bob)
    with pytest.raises(terms.TopUpRefused, match="many tries"):
        till.start(bob)


def test_tax_is_not_credit(till: Till, bob: Any, settings: Any) -> None:
    settings.NBP_STRIPE_TAX = True
    payment = till.bought(bob, 1_000)
    assert payment.tax_cents == 100 and payment.total_cents == 1_100
    assert entries(bob) == [("top_up", 10_000_000)]
