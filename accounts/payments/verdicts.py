"""What Stripe's facts mean for a payment: credit it, wait, or end it. It is credited only if everything agrees."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from accounts.payments.facts import CheckoutFacts, IntentFacts
from accounts.payments.models import Payment

State = Payment.State


@dataclass(frozen=True, slots=True)
class Verdict:
    """The state a payment has now. SUCCEEDED is: credit it. Why, for the states that end without money."""

    state: Payment.State
    error_code: str = ""
    error: str = ""


def of_checkout(payment: Payment, facts: CheckoutFacts) -> Verdict:
    """What a Checkout page says."""
    intent = facts.intent
    if facts.payment_status == "paid" or (intent is not None and intent.received_cents):
        return _paid(payment, [*_differences(payment, facts), *_money(payment, facts)])
    if facts.status in ("expired", "open"):
        state = State.EXPIRED if facts.status == "expired" else State.OPEN
        return Verdict(state, intent.error_code if intent else "", intent.error if intent else "")
    if intent is not None and intent.status in ("requires_payment_method", "canceled"):
        return Verdict(State.FAILED, intent.error_code or intent.status, intent.error)
    return Verdict(State.PROCESSING)


def of_intent(payment: Payment, intent: IntentFacts) -> Verdict:
    """What a payment intent of an auto-recharge says."""
    if intent.received_cents:
        wrong = list(_differences(payment, intent))
        if intent.received_cents != payment.total_cents:
            wrong.append(f"received {intent.received_cents} cents instead of {payment.total_cents}")
        return _paid(payment, wrong)
    if intent.status == "processing":
        return Verdict(State.PROCESSING)
    return Verdict(State.FAILED, intent.error_code or intent.status, intent.error)


def _paid(payment: Payment, wrong: list[str]) -> Verdict:
    if wrong:
        return Verdict(State.BLOCKED, "mismatch", f"Paid, but not as asked: {'; '.join(wrong)}."[:500])
    return Verdict(State.SUCCEEDED)


def _differences(payment: Payment, facts: CheckoutFacts | IntentFacts) -> Iterator[str]:
    if facts.livemode != payment.livemode:
        yield f"livemode is {facts.livemode}"
    if facts.currency != payment.currency:
        yield f"the currency is {facts.currency}"
    if facts.customer_id != payment.stripe_customer_id:
        yield f"the customer is {facts.customer_id or 'unknown'}"
    if facts.labels.payment_id != payment.public_id:
        yield f"it names {facts.labels.payment_id or 'no payment'}"


def _money(payment: Payment, facts: CheckoutFacts) -> Iterator[str]:
    if facts.subtotal_cents != payment.amount_cents:
        yield f"the amount is {facts.subtotal_cents} cents instead of {payment.amount_cents}"
    if facts.total_cents != facts.subtotal_cents + facts.tax_cents:
        yield f"the total is {facts.total_cents} cents"
    intent = facts.intent
    if intent is None:
        yield "there is no payment intent"
        return
    yield from _differences(payment, intent)
    if intent.status != "succeeded" or intent.received_cents != facts.total_cents:
        yield f"{intent.received_cents} cents were received, the intent is {intent.status}"
