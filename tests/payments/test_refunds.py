"""Money back: unspent credit leaves the wallet before Stripe is asked, and a failure brings it back."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

import pytest

from accounts.ledger import adjustments
from accounts.models import Account
from accounts.payments import following, refunds
from accounts.payments.models import BonusStep, Payment, Refund
from tests.payments.conftest import Till, entries, wallet


def ask(till: Till, payment: Payment, cents: int | None = None, **more: Any) -> Refund:
    return refunds.request(payment.pk, cents=cents, actor="operator", reason="asked for", now=till.now(), **more)


def spend(person: Any, micros: int) -> None:
    """What an image would take, by a correction."""
    adjustments.adjust(
        account=person.account, mode="test", amount_micros=-micros, actor="t", reason="spent", now=datetime.now(UTC)
    )


def test_the_rest_of_a_payment_goes_back(till: Till, bob: Any) -> None:
    payment = till.bought(bob, 1_000)
    spend(bob, 1_340_000)
    assert refunds.refundable(Payment.objects.get(pk=payment.pk)).cents == 866
    refund = ask(till, payment)
    assert (refund.state, refund.amount_cents) == ("succeeded", 866)
    assert wallet(bob).available_micros == 0
    assert [each["amount"] for each in till.fake.objects("refund")] == [866]
    with pytest.raises(refunds.RefundNotPossible):
        ask(till, payment)


def test_more_than_is_unspent_does_not_go_back(till: Till, bob: Any) -> None:
    payment = till.bought(bob, 1_000)
    spend(bob, 5_000_000)
    with pytest.raises(refunds.RefundNotPossible, match=r"\$5\.00"):
        ask(till, payment, 501)
    assert till.fake.objects("refund") == [] and not Refund.objects.exists()


def test_the_same_form_twice_is_one_refund(till: Till, bob: Any) -> None:
    payment, once = till.bought(bob, 1_000), uuid.uuid4()
    assert ask(till, payment, 300, once=once).pk == ask(till, payment, 300, once=once).pk
    assert wallet(bob).available_micros == 7_000_000


def test_f9_two_partial_refunds_and_one_that_fails(till: Till, bob: Any) -> None:
    payment = till.bought(bob, 1_000)
    first, second = ask(till, payment, 300), ask(till, payment, 200)
    assert wallet(bob).available_micros == 5_000_000
    till.fake.fail_refund(first.stripe_refund_id or "")
    till.rounds()
    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.state, second.state) == ("failed", "succeeded")
    assert wallet(bob).available_micros == 8_000_000
    assert entries(bob)[-1] == ("refund_failed", 3_000_000)
    # What came back can be sent again.
    assert ask(till, payment).amount_cents == 800
    assert wallet(bob).available_micros == 0


def test_a_slow_refund_is_pending_until_it_arrives(till: Till, bob: Any) -> None:
    payment = till.bought(bob, 1_000, "4000000000007726")
    refund = ask(till, payment, 400)
    assert refund.state == "pending" and wallet(bob).available_micros == 6_000_000
    till.rounds(seconds=60)
    refund.refresh_from_db()
    assert refund.state == "succeeded" and refund.next_check_at is None


@pytest.mark.parametrize("kind", ["drop_after", "500_after"])
def test_no_answer_is_not_a_second_refund(till: Till, bob: Any, kind: str) -> None:
    payment = till.bought(bob, 1_000)
    till.fake.fail_next("POST", "/v1/refunds", kind)
    till.fake.fail_next("POST", "/v1/refunds", "drop", times=2)
    refund = ask(till, payment, 400)
    assert refund.state == "requested"
    till.rounds(seconds=2 * 86_400)
    refund.refresh_from_db()
    assert refund.state == "succeeded"
    assert [each["amount"] for each in till.fake.objects("refund")] == [400]
    assert wallet(bob).available_micros == 6_000_000


def test_a_refund_stripe_refuses_comes_back_at_once(till: Till, bob: Any) -> None:
    payment = till.bought(bob, 1_000)
    charge = till.fake.objects("charge")[0]
    till.fake.change(charge["id"], amount_refunded=1_000, _number="4242424242424242")
    refund = ask(till, payment, 400)
    assert refund.state == "failed" and refund.error
    assert wallet(bob).available_micros == 10_000_000
    till.fake.change(charge["id"], amount_refunded=0, _number="4242424242424242")


def test_f15_a_refund_in_the_dashboard_is_followed(till: Till, bob: Any) -> None:
    payment = till.bought(bob, 1_000)
    till.fake.refund_in_dashboard(payment.stripe_payment_intent_id or "", 250)
    till.rounds()
    assert wallet(bob).available_micros == 7_500_000
    refund = Refund.objects.get()
    assert not refund.is_ours and refund.state == "succeeded"
    till.rounds()
    assert Refund.objects.count() == 1


def test_f15_a_refund_in_the_dashboard_of_what_is_spent_is_debt_that_the_next_top_up_pays(till: Till, bob: Any) -> None:
    payment = till.bought(bob, 1_000)
    spend(bob, 9_000_000)
    till.fake.refund_in_dashboard(payment.stripe_payment_intent_id or "", 1_000)
    till.rounds()
    assert (wallet(bob).available_micros, wallet(bob).debt_micros) == (0, 9_000_000)
    till.bought(bob, 2_000)
    assert (wallet(bob).available_micros, wallet(bob).debt_micros) == (11_000_000, 0)


def test_a_debt_is_paid_with_what_was_bought_and_not_with_what_was_given(till: Till, bob: Any) -> None:
    payment = till.bought(bob, 1_000)
    spend(bob, 9_000_000)
    till.fake.refund_in_dashboard(payment.stripe_payment_intent_id or "", 1_000)
    till.rounds()
    adjustments.grant(
        account=bob.account, mode="test", amount_micros=5_000_000, actor="o", reason="sorry", now=till.now()
    )
    till.bought(bob, 2_000)
    left = dict(wallet(bob).lots.filter(remaining_micros__gt=0).values_list("kind", "remaining_micros"))
    assert left == {"promotional": 5_000_000, "paid": 11_000_000}


def test_f2_a_refund_event_before_the_payments_own(till: Till, bob: Any) -> None:
    payment = till.start(bob)
    till.pay(payment)
    intent = till.fake.objects("payment_intent")[0]["id"]
    till.fake.refund_in_dashboard(intent, 400)
    till.fake.disorder.is_reversed = True
    till.rounds()
    assert entries(bob) == [("top_up", 10_000_000), ("refund", 4_000_000)]


def test_a_bonus_goes_with_what_it_came_with(till: Till, bob: Any) -> None:
    BonusStep.objects.create(minimum_cents=10_000, percent=16)
    payment = till.bought(bob, 10_000)
    ask(till, payment, 5_000)
    assert wallet(bob).available_micros == 58_000_000
    ask(till, payment)
    assert wallet(bob).available_micros == 0


def test_a_bonus_that_was_spent_is_paid_with_what_was_bought(till: Till, bob: Any) -> None:
    BonusStep.objects.create(minimum_cents=10_000, percent=16)
    payment = till.bought(bob, 10_000)
    spend(bob, 20_000_000)
    # 116 - 20 = 96 are left, of which 16 were given: 80 go back.
    assert refunds.refundable(Payment.objects.get(pk=payment.pk)).cents == 8_000


def test_a_failed_refund_gives_the_bonus_back(till: Till, bob: Any) -> None:
    BonusStep.objects.create(minimum_cents=10_000, percent=16)
    payment = till.bought(bob, 10_000)
    refund = ask(till, payment)
    till.fake.fail_refund(refund.stripe_refund_id or "")
    till.rounds()
    assert wallet(bob).available_micros == 116_000_000
    assert refunds.refundable(Payment.objects.get(pk=payment.pk)).cents == 10_000


def test_tax_goes_back_with_its_credit(till: Till, bob: Any, settings: Any) -> None:
    settings.NBP_STRIPE_TAX = True
    payment = till.bought(bob, 1_000)
    assert ask(till, payment, 333).amount_cents == 366
    assert ask(till, payment).amount_cents == 734
    assert wallet(bob).available_micros == 0


def test_f14_a_payment_for_a_closed_account_goes_back(till: Till, bob: Any) -> None:
    payment = till.start(bob)
    till.pay(payment)
    Account.objects.filter(pk=bob.account.pk).update(status="closed")
    till.rounds()
    till.rounds(seconds=31)
    assert entries(bob) == [("top_up", 10_000_000), ("refund", 10_000_000)]
    assert [each["amount"] for each in till.fake.objects("refund")] == [1_000]
    assert following.follow(payment, now=till.now()).state == "succeeded"
    assert Refund.objects.count() == 1
