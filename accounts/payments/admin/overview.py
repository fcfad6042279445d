"""Money in at a glance, for the operator's first page: what came and went, and what waits for somebody."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Q, QuerySet, Sum
from django.urls import reverse

from accounts.ledger.admin.amounts import dollars
from accounts.notices.models import Notice
from accounts.payments.models import Dispute, Drift, Payment, ReconciliationRun, Refund, StripeEvent
from accounts.payments.models.payments import MICROS_PER_CENT


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that somebody should look at, and where."""

    title: str
    count: int
    url: str


@dataclass(frozen=True, slots=True)
class Overview:
    """Live top-ups and refunds of a day and of thirty, troubles, and when Stripe was compared last."""

    paid: tuple[str, str]
    refunded: tuple[str, str]
    troubles: tuple[Trouble, ...]
    reconciled: str


def overview(*, now: datetime) -> Overview:
    """Read it all."""
    live = Payment.objects.filter(livemode=True, state=Payment.State.SUCCEEDED)
    back = Refund.objects.filter(payment__livemode=True).exclude(state=Refund.State.FAILED)
    return Overview(
        paid=_sums(live, "settled_at", now),
        refunded=_sums(back, "created_at", now),
        troubles=tuple(each for each in _troubles() if each.count),
        reconciled=_reconciled(),
    )


def _sums(rows: QuerySet[Any], moment: str, now: datetime) -> tuple[str, str]:
    """Of the last day, and of the last thirty."""
    day, month = now - timedelta(hours=24), now - timedelta(days=30)
    sums = rows.filter(**{f"{moment}__gte": month}).aggregate(
        day=Sum("amount_cents", filter=Q(**{f"{moment}__gte": day})), month=Sum("amount_cents")
    )
    return dollars((sums["day"] or 0) * MICROS_PER_CENT), dollars((sums["month"] or 0) * MICROS_PER_CENT)


def _troubles() -> list[Trouble]:
    def found(title: str, rows: QuerySet[Any], page: str, query: str = "") -> Trouble:
        return Trouble(title, rows.count(), reverse(f"admin:{page}_changelist") + query)

    open_disputes = Dispute.objects.filter(status__in=("needs_response", "under_review", "warning_needs_response"))
    given_up = StripeEvent.objects.filter(processed_at=None, next_try_at=None)
    unsent = Notice.objects.filter(sent_at=None, next_try_at=None)
    blocked = Payment.objects.filter(state=Payment.State.BLOCKED)
    return [
        found(
            "Drift between Stripe and the ledger", Drift.objects.filter(closed_at=None), "payments_drift", "?state=open"
        ),
        found("Payments that do not fit", blocked, "payments_payment", "?state=blocked"),
        found("Disputes to answer", open_disputes, "payments_dispute"),
        found("Events that were given up", given_up, "payments_stripeevent", "?state=given_up"),
        found("Mails that were given up", unsent, "notices_notice"),
    ]


def _reconciled() -> str:
    row = ReconciliationRun.objects.order_by("-day").first()
    if row is None:
        return "not yet; it runs at 03:00 UTC"
    if row.error:
        return f"{row.day}: {row.error}"
    return f"{row.day}: {row.payments_checked} payments, {row.drift_count} differ"
