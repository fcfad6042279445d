"""Fair shares: which queued outputs to nudge, within each account's running cap, accounts in turn.

All times here are the database's clock: a worker whose own is slow must not take a lost nudge for a fresh one.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import timedelta
from itertools import chain, zip_longest

from django.conf import settings
from django.db.models import Min, Q, QuerySet
from django.db.models.functions import Now

from accounts.compiled import CompiledSelect
from accounts.group_commit import GroupCommit
from accounts.models import Account
from accounts.transactions import repeatable, write_transaction
from generation.models import IN_JOB, Output, State

# A nudge that did not lead to a claim within this time is taken for lost.
NUDGE_PATIENCE = timedelta(seconds=10)
_MAX_AT_ONCE = 500
_UNDELIVERED = (State.QUEUED, State.LEASED, State.SENT)


def due(account_id: uuid.UUID) -> list[uuid.UUID]:
    """Outputs of one account to nudge now, marked as nudged."""
    return _DUE.do(account_id)


def due_each(asked: Sequence[uuid.UUID]) -> list[list[uuid.UUID]]:
    """The same for several who ask at once; of those who ask for one account, the first gets the answer."""
    first = {account_id: place for place, account_id in reversed(list(enumerate(asked)))}
    found: list[list[uuid.UUID]] = [[] for _ in asked]
    for account_id, mode in sorted(_waiting(list(first))):
        found[first[account_id]] += _take(account_id, mode)
    return found


_DUE = GroupCommit(due_each)


def due_everywhere() -> list[uuid.UUID]:
    """Outputs of all accounts to nudge now, one of each account in turn, marked as nudged."""
    by_account = [due(account_id) for account_id, _ in _accounts_waiting()]
    in_turn = [each for each in chain.from_iterable(zip_longest(*by_account)) if each is not None]
    return _patient_last(in_turn)


def _patient_last(output_ids: list[uuid.UUID]) -> list[uuid.UUID]:
    """In the same order, but for those of the batch lane, which come after all others."""
    if not output_ids:
        return []
    patient = set(Output.objects.filter(pk__in=output_ids, lane="batch").values_list("pk", flat=True))
    return sorted(output_ids, key=patient.__contains__)


def _nudgeable() -> Q:
    fresh = Q(nudged_at=None) | Q(nudged_at__lt=Now() - NUDGE_PATIENCE)
    return fresh & Q(state=State.QUEUED, next_run_at__lte=Now())


_waiting = CompiledSelect(
    lambda accounts: (
        Output.objects.filter(_nudgeable(), account_id__in=accounts).values_list("account_id", "mode").distinct()
    )
)


_accounts_waiting = CompiledSelect(
    lambda: (
        Output.objects.filter(_nudgeable())
        .values_list("account_id")
        .annotate(oldest=Min("next_run_at"))
        .order_by("oldest")[:_MAX_AT_ONCE]
    )
)


def _busy(mode: str) -> QuerySet[Output]:
    """Outputs of a mode that run, or were nudged and will. What waits in a job upstream takes no place here."""
    return Output.objects.exclude(IN_JOB).filter(
        Q(state__in=(State.LEASED, State.SENT))
        | Q(state=State.QUEUED, nudged_at__gte=Now() - NUDGE_PATIENCE, next_run_at__lte=Now()),
        mode=mode,
    )


def _free_places(account_id: uuid.UUID, mode: str, cap: int) -> int:
    """Places of the account; test work of all accounts together leaves room for what is paid for."""
    busy = _busy(mode)
    own = busy.filter(account_id=account_id).count()
    places = min(cap - own, _MAX_AT_ONCE)
    if mode == "test" and places > 0:
        # They share their places, so that whoever came first with a thousand outputs does not hold them all.
        asking = Output.objects.filter(mode=mode, state__in=_UNDELIVERED).values("account_id").distinct().count()
        share = max(1, settings.NBP_TEST_RUNNING_CAP // max(1, asking))
        places = min(places, settings.NBP_TEST_RUNNING_CAP - busy.count(), share - own)
    return places


def _take(account_id: uuid.UUID, mode: str) -> list[uuid.UUID]:
    places = _free_places(account_id, mode, running_cap(account_id))
    return _mark(account_id, mode, places) if places > 0 else []


def running_cap(account_id: uuid.UUID) -> int:
    """How many outputs of an account may run at once, in each mode."""
    cap = Account.objects.values_list("running_cap", flat=True).get(pk=account_id)
    return cap if cap is not None else int(settings.NBP_ACCOUNT_RUNNING_CAP)


@repeatable
def _mark(account_id: uuid.UUID, mode: str, places: int) -> list[uuid.UUID]:
    rows = Output.objects.filter(_nudgeable(), account_id=account_id, mode=mode)
    with write_transaction():
        # Two that nudge at once share the rows instead of waiting for each other.
        chosen = rows.order_by("-lane", "next_run_at", "id").select_for_update(skip_locked=True)[:places]
        ids = [row.pk for row in chosen.only("pk")]
        Output.objects.filter(pk__in=ids, state=State.QUEUED).update(nudged_at=Now())
    return ids
