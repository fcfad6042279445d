"""Proof of payments against the ledger, without asking Stripe. Each check yields what breaks it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from django.db import connection
from django.db.models import Case, F, IntegerField, Q, Sum, Value, When
from django.db.models.functions import Coalesce

from accounts.ledger.audit import Violation
from accounts.ledger.models import Entry
from accounts.payments.models import Dispute, Payment, PaymentEntry, Refund
from accounts.payments.triggers import GUARDS


def _sum(condition: Q, amount: str = "payment_entries__entry__amount_micros") -> Coalesce:
    return Coalesce(Sum(amount, filter=condition), Value(0))


def _kind(*kinds: str) -> Q:
    return Q(payment_entries__entry__kind__in=kinds)


def credited_once() -> Iterator[str]:
    """I14: a succeeded payment brought exactly its credit and its bonus, in one entry each; another brought nothing."""
    own = Q(payment_entries__refund=None, payment_entries__dispute=None)
    rows = Payment.objects.annotate(
        brought=_sum(own & _kind("top_up")),
        given=_sum(own & _kind("grant")),
        count=Sum(Case(When(own & _kind("top_up"), then=1), default=0, output_field=IntegerField())),
    )
    wrong = rows.filter(
        Q(state="succeeded") & (~Q(brought=F("credit_micros")) | ~Q(given=F("bonus_micros")) | ~Q(count=1))
        | ~Q(state="succeeded") & (Q(brought__gt=0) | Q(given__gt=0))
    )
    for row in wrong.order_by("pk"):
        yield f"payment {row.public_id} is {row.state} but {row.brought} and {row.given} micros came in {row.count}"


def money_from_stripe_has_a_payment() -> Iterator[str]:
    """Every entry that names Stripe stems from a payment."""
    kinds = ("top_up", "refund", "refund_debt", "refund_failed", "dispute", "dispute_debt", "reinstate")
    for number in Entry.objects.filter(kind__in=kinds, payment_entry=None).values_list("pk", flat=True):
        yield f"entry {number} is of no payment"


def refunds_equal_their_entries() -> Iterator[str]:
    """I15: a refund took its credit, and one that failed brought it back."""
    rows = Refund.objects.annotate(
        taken=_sum(_kind("refund", "refund_debt")), back=_sum(_kind("refund_failed")), revoked=_sum(_kind("revoke"))
    )
    wrong = rows.filter(
        ~Q(taken=F("credit_micros"))
        | ~Q(revoked=F("revoked_micros"))
        | (Q(state="failed") & ~Q(back=F("credit_micros")))
        | (~Q(state="failed") & Q(back__gt=0))
    )
    for row in wrong.order_by("pk"):
        yield f"refund {row.public_id} is {row.state} but took {row.taken} and brought back {row.back} micros"


def disputes_equal_their_entries() -> Iterator[str]:
    """I15: what a dispute withdrew is what its entries moved."""
    rows = Dispute.objects.annotate(
        moved=_sum(_kind("dispute", "dispute_debt")) - _sum(_kind("reinstate")),
    )
    for row in rows.exclude(moved=F("withdrawn_micros")).order_by("pk"):
        yield f"dispute {row.stripe_dispute_id} withdrew {row.withdrawn_micros} but its entries say {row.moved}"


def not_more_goes_back_than_came() -> Iterator[str]:
    """Refunds of a payment never sum to more than was paid."""
    going = Q(refunds__state__in=("requested", "pending", "succeeded"))
    rows = Payment.objects.annotate(back=Coalesce(Sum("refunds__amount_cents", filter=going), Value(0)))
    for row in rows.filter(back__gt=F("amount_cents") + F("tax_cents")):
        yield f"payment {row.public_id} was {row.total_cents} cents but {row.back} go back"


def live_money_is_real() -> Iterator[str]:
    """I17: no entry of a live wallet stems from a payment with livemode false, nor the other way round."""
    wrong = PaymentEntry.objects.filter(
        Q(entry__wallet__mode="live", payment__livemode=False) | Q(entry__wallet__mode="test", payment__livemode=True)
    )
    for number in wrong.values_list("entry_id", flat=True):
        yield f"entry {number} is of the other mode than its payment"


def triggers_exist() -> Iterator[str]:
    """I20: every trigger of payments is in the database."""
    for name in GUARDS.missing(connection):
        yield f"trigger {name} is missing"


CHECKS: dict[str, Callable[[], Iterator[str]]] = {
    "I14: a payment is credited once, and only when it succeeded": credited_once,
    "money from and to Stripe has a payment": money_from_stripe_has_a_payment,
    "I15: a refund equals its entries": refunds_equal_their_entries,
    "I15: a dispute equals its entries": disputes_equal_their_entries,
    "refunds are not more than was paid": not_more_goes_back_than_came,
    "I17: live wallets hold real money": live_money_is_real,
    "I20: the triggers of payments exist": triggers_exist,
}


def violations() -> Iterator[Violation]:
    """Every broken invariant of payments."""
    for invariant, check in CHECKS.items():
        for detail in check():
            yield Violation(invariant, detail)
