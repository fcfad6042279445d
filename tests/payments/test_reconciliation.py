"""Stripe against the ledger: what was missed is fetched, what was lost is made again, what differs is said."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from accounts.payments import reconciliation
from accounts.payments.models import Customer, Drift, Payment, PaymentEntry, StripeEvent
from accounts.payments.triggers import GUARDS as PAYMENTS_GUARDS
from tests.payments.conftest import Till, entries, wallet


def run(till: Till) -> reconciliation.Report:
    return reconciliation.reconcile(now=till.now())


def test_all_is_well(till: Till, bob: Any) -> None:
    till.bought(bob, 1_000)
    till.rounds()
    report = run(till)
    assert report.is_clean and report.payments_checked == 1 and not Drift.objects.exists()


def test_a_webhook_that_never_came_is_fetched(till: Till, bob: Any) -> None:
    till.pay(till.start(bob))
    assert not StripeEvent.objects.exists()
    report = run(till)
    assert report.is_clean and report.events_fetched >= 2
    assert entries(bob) == [("top_up", 10_000_000)]
    assert all(row.is_backfilled for row in StripeEvent.objects.all())


def test_f13_the_database_of_yesterday_gets_its_payments_back(till: Till, bob: Any) -> None:
    """Rows of today are gone, as after a restore; Stripe still knows the payment, and our labels are on it."""
    from django.db import connection

    from accounts.ledger.models import Entry, Lot, Wallet
    from accounts.ledger.triggers import GUARDS

    payment = till.bought(bob, 1_000)
    till.rounds()
    PAYMENTS_GUARDS.drop(connection)
    GUARDS.drop(connection)
    PaymentEntry.objects.all().delete()
    Payment.objects.all().delete()
    Customer.objects.all().delete()
    StripeEvent.objects.all().delete()
    Lot.objects.all().delete()
    Entry.objects.all().delete()
    Wallet.objects.filter(pk=wallet(bob).pk).update(available_micros=0, head_sequence=0)
    GUARDS.create(connection)
    PAYMENTS_GUARDS.create(connection)
    report = run(till)
    assert report.is_clean, report.differences
    assert entries(bob) == [("top_up", 10_000_000)]
    assert Payment.objects.get().pk == payment.pk
    assert run(till).is_clean and entries(bob) == [("top_up", 10_000_000)]


def test_labels_that_we_did_not_sign_make_no_payment(till: Till, bob: Any) -> None:
    till.bought(bob, 1_000)
    found = till.fake.objects("payment_intent")[0]
    metadata = found["metadata"] | {"payment_id": "pay_00000000000000000000000001"}
    till.fake.change(found["id"], id="pi_forged", metadata=metadata)
    with till.fake.store.book(till.clock()) as book:
        book.put(found | {"id": "pi_forged", "metadata": metadata})
    report = run(till)
    assert [(each.subject, each.invariant) for each in report.differences] == [("pi_forged", "I16")]
    assert entries(bob) == [("top_up", 10_000_000)]


def test_i16_a_blocked_payment_is_drift_until_it_is_mended(till: Till, bob: Any) -> None:
    payment = till.start(bob)
    till.pay(payment)
    session = till.fake.objects("checkout.session")[0]
    till.fake.change(session["id"], currency="eur")
    assert [each.invariant for each in run(till).differences] == ["I16"]
    assert Drift.objects.get().closed_at is None
    till.fake.change(session["id"], currency="usd")
    assert run(till).is_clean
    assert Drift.objects.get().closed_at is not None and entries(bob) == [("top_up", 10_000_000)]


def test_i14_stripe_received_another_amount(till: Till, bob: Any) -> None:
    till.bought(bob, 1_000)
    till.rounds()
    intent = till.fake.objects("payment_intent")[0]
    till.fake.change(intent["id"], amount_received=900)
    assert [each.invariant for each in run(till).differences] == ["I14"]
    assert Drift.objects.count() == 1
    run(till)
    assert Drift.objects.count() == 1


def test_i14_stripe_does_not_know_the_payment(till: Till, bob: Any) -> None:
    payment = till.bought(bob, 1_000)
    till.rounds()
    with till.fake.store._open() as connection:
        connection.execute("DELETE FROM object WHERE id = ?", (payment.stripe_payment_intent_id,))
    assert [(each.subject, each.invariant) for each in run(till).differences] == [(payment.public_id, "I14")]


def test_i15_refunds_and_disputes_that_no_event_told_of(till: Till, bob: Any) -> None:
    one, two = till.bought(bob, 1_000), till.bought(bob, 2_000)
    till.fake.refund_in_dashboard(one.stripe_payment_intent_id or "", 500)
    till.fake.open_dispute(two.stripe_charge_id or "")
    assert run(till).is_clean
    assert wallet(bob).available_micros == 5_000_000


def test_stripe_that_does_not_answer_proves_nothing(till: Till) -> None:
    till.fake.fail_next("GET", "/v1/events", "500", times=3)
    with pytest.raises(reconciliation.NotReconciled):
        run(till)


def test_the_command_says_it_and_its_exit_tells(till: Till, bob: Any) -> None:
    till.bought(bob, 1_000)
    out = StringIO()
    call_command("reconcile_payments", "--json", stdout=out)
    assert json.loads(out.getvalue())["ok"] is True
    intent = till.fake.objects("payment_intent")[0]
    till.fake.change(intent["id"], amount_received=900)
    with pytest.raises(CommandError, match="I14"):
        call_command("reconcile_payments", stdout=StringIO())
