"""Money in at a glance, for the operator's first page: what came and went, and what waits for somebody."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Q, QuerySet, Sum
from django.urls import reverse

from accounts.ledger.admin.amounts import dollars
from accounts.payments.models import Payment, ReconciliationRun, Refund
from accounts.payments.models.payments import MICROS_PER_CENT
from accounts.payments.troubles import counts


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


_PAGES = {
    "drift": ("Drift between Stripe and the ledger", "payments_drift", "?state=open"),
    "blocked": ("Payments that do not fit", "payments_payment", "?state=blocked"),
    "disputes": ("Disputes to answer", "payments_dispute", ""),
    "events_given_up": ("Events that were given up", "payments_stripeevent", "?state=given_up"),
    "mails_given_up": ("Mails that were given up", "notices_notice", ""),
}


def _troubles() -> Iterator[Trouble]:
    for name, count in counts().items():
        title, page, query = _PAGES[name]
        yield Trouble(title, count, reverse(f"admin:{page}_changelist") + query)


def _reconciled() -> str:
    row = ReconciliationRun.objects.order_by("-day").first()
    if row is None:
        return "not yet; it runs at 03:00 UTC"
    if row.error:
        return f"{row.day}: {row.error}"
    return f"{row.day}: {row.payments_checked} payments, {row.drift_count} differ"
