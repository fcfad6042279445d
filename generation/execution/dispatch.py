"""Fair shares: which queued outputs to nudge, within each account's running cap, accounts in turn."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from itertools import chain, zip_longest

from django.conf import settings
from django.db.models import Q

from accounts.models import Account
from generation.models import Output, State

# A nudge that did not lead to a claim within this time is taken for lost.
NUDGE_PATIENCE = timedelta(seconds=10)
_MAX_AT_ONCE = 500


def due(*, account_id: uuid.UUID, now: datetime) -> list[uuid.UUID]:
    """Outputs of one account to nudge now, marked as nudged."""
    cap = Account.objects.values_list("running_cap", flat=True).get(pk=account_id)
    return _take(account_id, cap if cap is not None else settings.NBP_ACCOUNT_RUNNING_CAP, now)


def due_everywhere(*, now: datetime) -> list[uuid.UUID]:
    """Outputs of all accounts to nudge now, one of each account in turn, marked as nudged."""
    waiting = Output.objects.filter(_nudgeable(now)).values_list("account_id", flat=True).distinct()[:_MAX_AT_ONCE]
    by_account = [due(account_id=account_id, now=now) for account_id in waiting]
    return [each for each in chain.from_iterable(zip_longest(*by_account)) if each is not None]


def _nudgeable(now: datetime) -> Q:
    fresh = Q(nudged_at=None) | Q(nudged_at__lt=now - NUDGE_PATIENCE)
    return fresh & Q(state=State.QUEUED, next_run_at__lte=now)


def _take(account_id: uuid.UUID, cap: int, now: datetime) -> list[uuid.UUID]:
    busy = Output.objects.filter(account_id=account_id).filter(
        Q(state__in=(State.LEASED, State.SENT))
        | Q(state=State.QUEUED, nudged_at__gte=now - NUDGE_PATIENCE, next_run_at__lte=now)
    )
    free = min(cap - busy.count(), _MAX_AT_ONCE)
    if free <= 0:
        return []
    rows = Output.objects.filter(_nudgeable(now), account_id=account_id).order_by("next_run_at", "id")
    ids = list(rows.values_list("pk", flat=True)[:free])
    Output.objects.filter(pk__in=ids, state=State.QUEUED).update(nudged_at=now)
    return ids
