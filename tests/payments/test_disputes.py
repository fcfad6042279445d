"""Disputes: the wallet freezes, follows what Stripe takes, and spends again when the dispute is won."""

from __future__ import annotations

from typing import Any

import pytest

from accounts.ledger.models import Wallet
from accounts.payments import refunds
from accounts.payments.models import Dispute, Payment
from generation import submission
from generation.contract import GenerationRequest, Refusal
from tests.payments.conftest import Till, entries, wallet
from tests.payments.test_refunds import spend


def disputed(till: Till, person: Any, *, spent: int = 0, cents: int | None = None) -> tuple[Payment, str]:
    payment = till.bought(person, 1_000)
    if spent:
        spend(person, spent)
    dispute = till.fake.open_dispute(payment.stripe_charge_id or "", cents)
    till.rounds()
    return payment, dispute


def test_a_dispute_takes_the_money_and_freezes_the_wallet(till: Till, bob: Any) -> None:
    disputed(till, bob)
    assert (wallet(bob).available_micros, wallet(bob).debt_micros, wallet(bob).status) == (0, 0, "frozen")
    assert entries(bob)[-1] == ("dispute", 10_000_000)


def test_f10_a_dispute_of_what_is_spent_is_debt(till: Till, bob: Any) -> None:
    _, dispute = disputed(till, bob, spent=7_000_000)
    assert (wallet(bob).available_micros, wallet(bob).debt_micros) == (0, 7_000_000)
    till.fake.close_dispute(dispute, is_won=True)
    till.rounds()
    assert (wallet(bob).available_micros, wallet(bob).debt_micros) == (3_000_000, 0)
    assert wallet(bob).status == "active" and Dispute.objects.get().withdrawn_micros == 0


def test_a_lost_dispute_leaves_the_wallet_frozen_until_the_operator_thaws_it(till: Till, bob: Any) -> None:
    payment, dispute = disputed(till, bob)
    till.fake.close_dispute(dispute, is_won=False)
    till.rounds()
    assert wallet(bob).status == "frozen" and Dispute.objects.get().status == "lost"
    Wallet.objects.filter(pk=wallet(bob).pk).update(status="active")
    from accounts.payments import disputes

    disputes.converge(payment, now=till.now())
    assert wallet(bob).status == "active"


def test_a_frozen_wallet_starts_nothing_new(till: Till, bob: Any, queue: Any) -> None:
    till.bought(bob, 5_000)
    disputed(till, bob)
    assert wallet(bob).available_micros == 50_000_000
    with pytest.raises(Refusal) as refused:
        submission.accept(bob.requester(), GenerationRequest(prompt="A banana"), now=till.now())
    assert refused.value.kind == "payment"


def test_a_banks_question_moves_nothing(till: Till, bob: Any) -> None:
    payment = till.bought(bob, 1_000)
    till.fake.open_dispute(payment.stripe_charge_id or "", is_inquiry=True)
    till.rounds()
    assert wallet(bob).available_micros == 10_000_000 and wallet(bob).status == "active"
    assert Dispute.objects.get().status == "warning_needs_response"


def test_part_of_a_payment_is_disputed(till: Till, bob: Any) -> None:
    disputed(till, bob, cents=400)
    assert wallet(bob).available_micros == 6_000_000


def test_what_is_disputed_is_not_refunded_too(till: Till, bob: Any) -> None:
    payment, _ = disputed(till, bob, cents=400)
    with pytest.raises(refunds.RefundNotPossible):
        refunds.request(payment.pk, actor="a", reason="b", now=till.now())


def test_f2_a_dispute_event_before_the_payments_own(till: Till, bob: Any) -> None:
    payment = till.start(bob)
    till.pay(payment, "4000000000000259")
    till.fake.disorder.is_reversed = True
    till.clock.ahead_seconds += 10
    till.rounds()
    assert entries(bob) == [("top_up", 10_000_000), ("dispute", 10_000_000)]


def test_events_of_a_dispute_again_and_again_move_nothing_twice(till: Till, bob: Any) -> None:
    till.fake.disorder.copies = 3
    _, dispute = disputed(till, bob)
    till.rounds()
    till.fake.close_dispute(dispute, is_won=True)
    till.rounds()
    till.rounds()
    assert entries(bob) == [("top_up", 10_000_000), ("dispute", 10_000_000), ("reinstate", 10_000_000)]
