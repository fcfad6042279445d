"""What about payments waits for a person: shown on the operator's first page and told to the monitoring."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db.models import Count, QuerySet, Value

from accounts.notices.models import Notice
from accounts.payments.models import Dispute, Drift, Payment, StripeEvent

TROUBLES: dict[str, Callable[[], QuerySet[Any]]] = {
    "drift": lambda: Drift.objects.filter(closed_at=None),
    "blocked": lambda: Payment.objects.filter(state=Payment.State.BLOCKED),
    "disputes": lambda: Dispute.objects.filter(status__in=("needs_response", "under_review", "warning_needs_response")),
    "events_given_up": lambda: StripeEvent.objects.filter(processed_at=None, next_try_at=None),
    "mails_given_up": lambda: Notice.objects.filter(sent_at=None, next_try_at=None),
}


def counts() -> dict[str, int]:
    """How many of each there are, in one query."""
    first, *others = (
        rows()
        .order_by()
        .annotate(what=Value(name))
        .values("what")
        .annotate(count=Count("pk"))
        .values_list("what", "count")
        for name, rows in TROUBLES.items()
    )
    return dict.fromkeys(TROUBLES, 0) | dict(first.union(*others, all=True))
