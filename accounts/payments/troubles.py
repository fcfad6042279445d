"""What about payments waits for a person: shown on the operator's first page and told to the monitoring."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db.models import QuerySet

from accounts.notices.models import Notice
from accounts.payments.models import Dispute, Drift, Payment, StripeEvent

TROUBLES: dict[str, Callable[[], QuerySet[Any]]] = {
    "drift": lambda: Drift.objects.filter(closed_at=None),
    "blocked": lambda: Payment.objects.filter(state=Payment.State.BLOCKED),
    "disputes": lambda: Dispute.objects.filter(status__in=("needs_response", "under_review", "warning_needs_response")),
    "events_given_up": lambda: StripeEvent.objects.filter(processed_at=None, next_try_at=None),
    "mails_given_up": lambda: Notice.objects.filter(sent_at=None, next_try_at=None),
}
