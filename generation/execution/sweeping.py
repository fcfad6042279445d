"""The net under the queue: what a crash or a lost nudge left behind is found and put back on the road.

Idempotent: two sweepers, or ten, leave the same rows as one.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

from django.conf import settings
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now

from accounts.compiled import CompiledSelect
from accounts.transactions import write_transaction
from generation import media, settlement
from generation.contract import Usage
from generation.execution.dispatch import due_everywhere
from generation.execution.leases import HEARTBEAT, Lease, forgotten_after, requeue
from generation.execution.results import cost_of, fail_after_unknowns, give_up
from generation.models import Attempt, IdempotencyKey, Output, State

logger = logging.getLogger(__name__)
_LIMIT = 500
_FINISH_PATIENCE = timedelta(seconds=5)
_SPOOL_AGE = timedelta(hours=2)
_SETTLE_AGAIN = timedelta(seconds=30)
_MAX_STRANDED = 5


def sweep(*, now: datetime) -> list[uuid.UUID]:
    """Mend what is stranded and answer the outputs to nudge."""
    HEARTBEAT.catch_up()
    for output_id, lease_number, state in _expired():
        if state == State.LEASED:
            # By a worker that is gone before it sent anything.
            _apart(output_id, partial(_free, output_id, lease_number, now))
        else:
            _apart(output_id, partial(_end_unanswered, Lease(output_id, lease_number), now))
    for output_id in _received():
        _apart(output_id, partial(settlement.succeed, output_id, now=now))
    _end_forgotten_attempts(now)
    return due_everywhere()


def _apart(output_id: uuid.UUID, mend: Callable[[], object]) -> None:
    """Mend one output; what goes wrong with it does not keep the others from being mended."""
    try:
        mend()
    except Exception:
        logger.exception("output %s could not be mended", output_id)


# Those of workers that are gone.
_expired = CompiledSelect(
    lambda: (
        Output.objects.filter(state__in=(State.LEASED, State.SENT), lease_until__lt=Now())
        .order_by("lease_until")
        .values_list("pk", "lease_number", "state")[:_LIMIT]
    )
)


def _free(output_id: uuid.UUID, lease_number: int, now: datetime) -> None:
    """Nothing went out, so it is free to run again; what strands again and again is a fault of ours."""
    stranded = Output.objects.filter(pk=output_id, state=State.LEASED, lease_number=lease_number, lease_until__lt=Now())
    with write_transaction():
        if not stranded.update(stranded_count=F("stranded_count") + 1):
            return
        requeue(Lease(output_id, lease_number), seconds=0, now=now)
    if Output.objects.filter(pk=output_id, stranded_count__gte=_MAX_STRANDED).exists():
        give_up(output_id, lease_number=lease_number, now=now)


def _end_unanswered(lease: Lease, now: datetime) -> None:
    """The attempt is unknown, the output queued again or failed. A lease just extended is left alone."""
    rows = Output.objects.filter(pk=lease.output_id, state=State.SENT, lease_number=lease.number)
    with write_transaction():
        if not rows.filter(lease_until__lt=Now()).update(lease_until=None):
            return
        if not fail_after_unknowns(lease, now=now):
            requeue(lease, seconds=0, now=now)
        attempts = Attempt.objects.filter(output_id=lease.output_id, lease_number=lease.number)
        for attempt in attempts.filter(status=Attempt.Status.SENT).select_related(
            "channel", "image_model", "output__generation__image_model", "output__generation__price"
        ):
            _end_attempt(attempt, now)


def _end_attempt(attempt: Attempt, now: datetime) -> None:
    cost_micros = cost_of(attempt, attempt.output.generation, Usage(), has_image=True)
    ended = Attempt.objects.filter(pk=attempt.pk, status=Attempt.Status.SENT).update(
        status=Attempt.Status.UNKNOWN,
        error_kind="unknown",
        finished_at=now,
        cost_micros=cost_micros,
        upstream_message="the worker that made this call is gone",
    )
    if ended:
        settlement.measure_attempt(attempt, result="unknown", now=now, cost_micros=cost_micros)


def _end_forgotten_attempts(now: datetime) -> None:
    """Calls of dead workers whose outputs were ended by somebody else meanwhile."""
    old = Attempt.objects.filter(status=Attempt.Status.SENT, started_at__lt=now - forgotten_after())
    forgotten = old.filter(~Q(output__state=State.SENT) | ~Q(output__lease_number=F("lease_number")))
    for attempt in forgotten.select_related(
        "channel", "image_model", "output__generation__image_model", "output__generation__price"
    )[:_LIMIT]:
        _end_attempt(attempt, now)


def _received() -> list[uuid.UUID]:
    """The image is stored and the settlement was cut off: it is settled without another call.

    Each is tried again only after a while, so that one that cannot be settled does not keep the others waiting.
    """
    if not _any_received():
        return []
    with write_transaction():
        # Another sweeper's rows are left to it.
        found = list(
            _cut_off()
            .select_for_update(no_key=True, skip_locked=True, of=("self",))
            .values_list("pk", flat=True)[:_LIMIT]
        )
        Output.objects.filter(pk__in=found).update(lease_until=Now() + _SETTLE_AGAIN)
    return found


def _cut_off() -> QuerySet[Output]:
    rows = Output.objects.filter(state=State.RECEIVED, media__created_at__lt=Now() - _FINISH_PATIENCE)
    return rows.filter(Q(lease_until=None) | Q(lease_until__lt=Now())).order_by("lease_until", "pk")


_any_received = CompiledSelect(lambda: _cut_off().values_list("pk")[:1])


def purge(*, now: datetime) -> None:
    """Forget idempotency keys past their days, and spool files that a crash left behind."""
    media.remove_old_spool_files(older_than=now - _SPOOL_AGE)
    IdempotencyKey.objects.filter(created_at__lt=now - timedelta(days=settings.NBP_IDEMPOTENCY_DAYS)).delete()
