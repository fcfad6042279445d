"""Stripe's objects as facts. An expandable field is the object where it was asked for, else its id."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TypeVar

import stripe

from accounts.payments.facts import CheckoutFacts, DisputeFacts, IntentFacts, Labels, RefundFacts

T = TypeVar("T", bound=stripe.StripeObject)
REFUND_KEY = "refund_id"


def moment(seconds: int) -> datetime:
    """Stripe's seconds since 1970."""
    return datetime.fromtimestamp(seconds, UTC)


def id_of(field: str | stripe.StripeObject | None) -> str:
    """The id of an expandable field, or an empty text."""
    if field is None or isinstance(field, str):
        return field or ""
    return str(getattr(field, "id", ""))


def _text(found: stripe.StripeObject | None, name: str) -> str:
    """A field that Stripe leaves out where it has nothing to say."""
    return str(getattr(found, name, "") or "") if found is not None else ""


def metadata(labels: Labels) -> dict[str, str]:
    """Our labels as Stripe's metadata."""
    return {"payment_id": labels.payment_id, "terms": labels.terms, "signature": labels.signature}


def _labels(found: stripe.StripeObject | None) -> Labels:
    return Labels(_text(found, "payment_id"), _text(found, "terms"), _text(found, "signature"))


def intent(found: stripe.PaymentIntent) -> IntentFacts:
    """A payment intent, with what its newest charge says where that was expanded."""
    charge = found.latest_charge if isinstance(found.latest_charge, stripe.Charge) else None
    details = charge.payment_method_details if charge else None
    card = _card(details)
    problem = found.last_payment_error
    return IntentFacts(
        id=found.id,
        status=str(found.status),
        amount_cents=found.amount,
        received_cents=found.amount_received,
        currency=found.currency,
        livemode=found.livemode,
        customer_id=id_of(found.customer),
        labels=_labels(found.metadata),
        created=moment(found.created),
        charge_id=id_of(found.latest_charge),
        refunded_cents=charge.amount_refunded if charge else 0,
        is_disputed=charge.disputed if charge else False,
        receipt_url=(charge.receipt_url or "") if charge else "",
        method_id=id_of(found.payment_method),
        method=_method(details),
        card_fingerprint=_text(card, "fingerprint"),
        error_code=_problem_code(problem),
        error=_text(problem, "message")[:500],
    )


def _problem_code(problem: stripe.PaymentIntent.LastPaymentError | None) -> str:
    """`authentication_required`, or the reason a bank gave, which says more than `card_declined`."""
    if problem is None:
        return ""
    code = _text(problem, "code") or _text(problem, "type")
    return _text(problem, "decline_code") or code if code == "card_declined" else code


def _method(details: stripe.Charge.PaymentMethodDetails | None) -> str:
    """How it was paid, in words: "visa 4242", or "alipay"."""
    if details is None:
        return ""
    card = _card(details)
    return f"{card.brand} {card.last4}" if card else str(details.type).replace("_", " ")


def _card(details: stripe.Charge.PaymentMethodDetails | None) -> stripe.Charge.PaymentMethodDetails.Card | None:
    """Details have a field for the method that was used and none for the others."""
    found = getattr(details, "card", None)
    return found if isinstance(found, stripe.Charge.PaymentMethodDetails.Card) else None


def checkout(found: stripe.checkout.Session) -> CheckoutFacts:
    """A Checkout page."""
    intent_object = found.payment_intent if isinstance(found.payment_intent, stripe.PaymentIntent) else None
    invoice = found.invoice if isinstance(found.invoice, stripe.Invoice) else None
    return CheckoutFacts(
        id=found.id,
        status=str(found.status),
        payment_status=str(found.payment_status),
        url=found.url or "",
        livemode=found.livemode,
        currency=found.currency or "",
        customer_id=id_of(found.customer),
        labels=_labels(found.metadata),
        subtotal_cents=found.amount_subtotal or 0,
        tax_cents=found.total_details.amount_tax if found.total_details else 0,
        total_cents=found.amount_total or 0,
        invoice_url=(invoice.hosted_invoice_url or "") if invoice else "",
        intent=intent(intent_object) if intent_object else None,
    )


def refund(found: stripe.Refund) -> RefundFacts:
    """A refund."""
    return RefundFacts(
        id=found.id,
        status=str(found.status),
        amount_cents=found.amount,
        intent_id=id_of(found.payment_intent),
        refund_id=_text(found.metadata, REFUND_KEY),
        error=_text(found, "failure_reason"),
    )


def dispute(found: stripe.Dispute) -> DisputeFacts:
    """A dispute: its balance transactions are what Stripe took (below zero) and gave back."""
    return DisputeFacts(
        id=found.id,
        status=str(found.status),
        reason=str(found.reason),
        amount_cents=found.amount,
        withdrawn_cents=_withdrawn(found),
        intent_id=id_of(found.payment_intent),
        created=moment(found.created),
    )


def _withdrawn(found: stripe.Dispute) -> int:
    """Balance transactions are in the currency we are paid in. In another one than the charge's only their sign counts:
    rates move between taking and giving back."""
    moved = found.balance_transactions
    if any(each.currency != found.currency for each in moved):
        given_back = [each for each in moved if each.amount > 0]
        return found.amount if len(moved) > 2 * len(given_back) else 0
    return max(0, -sum(each.amount for each in moved))
