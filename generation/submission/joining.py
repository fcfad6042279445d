"""A request that comes again without an idempotency key: an SDK's own resend must never buy twice."""

from __future__ import annotations

import enum
import uuid
from datetime import datetime, timedelta

from django.db.models import Q

from accounts.authentication import Requester
from generation import presence
from generation.models import Generation

_WINDOW = timedelta(minutes=10)
_ENDED_FREE = (Generation.Status.FAILED, Generation.Status.CANCELED)


class Joining(enum.Enum):
    """What a request may join: one like it that was lost, or, if it says that it is sent again, the newest like it."""

    IF_LOST = "if lost"
    SENT_AGAIN = "sent again"


def joined(requester: Requester, request_sha256: str, joining: Joining | None, now: datetime) -> uuid.UUID | None:
    """The earlier generation that this request is, if there is one, connected with it from now on."""
    if joining is None:
        return None
    rows = (
        Generation.objects.filter(
            account=requester.account,
            mode=requester.mode,
            api_key=requester.api_key,
            request_sha256=request_sha256,
            is_joinable=True,
        )
        .filter(Q(finished_at=None) | Q(finished_at__gte=now - _WINDOW))
        .order_by("-pk")
    )
    found = presence.join(rows.filter(presence.is_lost()))
    if found is None and joining is Joining.SENT_AGAIN:
        # What failed was free, and its client knows: it is tried anew.
        told = Q(status__in=_ENDED_FREE, delivered_at__isnull=False)
        found = presence.join(rows.exclude(told))
    return found
