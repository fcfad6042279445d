"""Money going back in the fake: refunds and disputes."""

from __future__ import annotations

from typing import Any

from accounts.payments.fake_stripe.answers import Wrong, the
from accounts.payments.fake_stripe.cards import CARDS, LATER_SECONDS
from accounts.payments.fake_stripe.events import emit
from accounts.payments.fake_stripe.store import Book, Object


def create_refund(book: Book, asked: dict[str, Any]) -> Object:
    """POST /v1/refunds of a payment intent."""
    intent = the(book, "payment_intent", asked.get("payment_intent", ""))
    if not intent["amount_received"]:
        raise Wrong(400, "This payment intent has no successful charge to refund.", code="charge_not_refundable")
    charge = the(book, "charge", intent["latest_charge"])
    left = charge["amount"] - charge["amount_refunded"]
    cents = int(asked.get("amount") or left)
    if charge["disputed"]:
        raise Wrong(400, "A disputed charge cannot be refunded.", code="charge_disputed")
    if not 0 < cents <= left:
        code = "charge_already_refunded" if not left else "refund_amount_too_large"
        raise Wrong(400, f"Refund amount ({cents}) is greater than unrefunded amount on charge ({left}).", code=code)
    later = CARDS[charge["_number"]].later
    refund = book.make(
        "re",
        "refund",
        amount=cents,
        currency=charge["currency"],
        charge=charge["id"],
        payment_intent=intent["id"],
        metadata=asked.get("metadata", {}),
        reason=asked.get("reason"),
        status="pending" if later == "slow_refunds" else "succeeded",
    )
    _refunded(book, charge, cents)
    if later == "slow_refunds":
        book.later(LATER_SECONDS, "end_refund", refund["id"])
    if later == "fail_refunds":
        book.later(LATER_SECONDS, "fail_refund", refund["id"])
    emit(book, "refund.created", refund["id"])
    emit(book, "charge.refunded", charge["id"])
    return refund


def _refunded(book: Book, charge: Object, cents: int) -> None:
    total = charge["amount_refunded"] + cents
    book.put(charge | {"amount_refunded": total, "refunded": total == charge["amount"]})


def fail_refund(book: Book, refund: Object) -> None:
    """The bank sends a refund back."""
    book.put(refund | {"status": "failed", "failure_reason": "expired_or_canceled_card"})
    _refunded(book, the(book, "charge", refund["charge"]), -refund["amount"])
    emit(book, "refund.failed", refund["id"])


def end_refund(book: Book, refund: Object) -> None:
    """A slow refund arrives."""
    book.put(refund | {"status": "succeeded"})
    emit(book, "refund.updated", refund["id"])


def open_dispute(book: Book, charge: Object, cents: int | None = None, *, is_inquiry: bool = False) -> Object:
    """The customer calls a charge back: the money is taken from us at once, unless it is only a question."""
    cents = cents or charge["amount"]
    book.put(charge | {"disputed": True})
    dispute = book.make(
        "du",
        "dispute",
        amount=cents,
        currency=charge["currency"],
        charge=charge["id"],
        payment_intent=charge["payment_intent"],
        reason="fraudulent",
        status="warning_needs_response" if is_inquiry else "needs_response",
        balance_transactions=[] if is_inquiry else [_movement(book, -cents)],
        is_charge_refundable=False,
        metadata={},
    )
    emit(book, "charge.dispute.created", dispute["id"])
    if not is_inquiry:
        emit(book, "charge.dispute.funds_withdrawn", dispute["id"])
    return dispute


def close_dispute(book: Book, dispute: Object, *, is_won: bool) -> None:
    """The bank decides."""
    movements = dispute["balance_transactions"]
    if is_won:
        movements = [*movements, _movement(book, dispute["amount"])]
    status = "won" if is_won else "lost"
    book.put(dispute | {"status": status, "balance_transactions": movements})
    emit(book, "charge.dispute.closed", dispute["id"])
    if is_won:
        emit(book, "charge.dispute.funds_reinstated", dispute["id"])


def _movement(book: Book, cents: int) -> Object:
    kind = "adjustment"
    return book.make("txn", "balance_transaction", amount=cents, type=kind, currency="usd", fee=0, net=cents)
