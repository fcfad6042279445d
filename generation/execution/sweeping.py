"""The net under the queue: what a crash or a lost nudge left behind is found and put back on the road.

Idempotent: two sweepers, or ten, leave the same rows as one.
"""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models.functions import Now

from accounts.transactions import write_transaction
from generation import media, settlement
from generation.execution.dispatch import due_everywhere
from generation.execution.results import fail_after_unknowns
from generation.models import Attempt, IdempotencyKey, Output, State

_LIMIT = 500
_FINISH_PATIENCE = timedelta(seconds=5)
_SPOOL_AGE = timedelta(hours=2)


def sweep(*, now: datetime) -> list[uuid.UUID]:
    """Mend what is stranded and answer the outputs to nudge."""
    _free_unsent()
    _end_unanswered(now)
    _settle_received(now)
    return due_everywhere(now=now)


def _free_unsent() -> None:
    """Leased and never sent: nothing went out, so it is free to run again."""
    Output.objects.filter(state=State.LEASED, lease_until__lt=Now()).update(
        state=State.QUEUED, next_run_at=Now(), nudged_at=None, lease_until=None
    )


def _end_unanswered(now: datetime) -> None:
    """Sent by a worker that is gone: the attempt is unknown, the output queued again, or failed after too many."""
    rows = Output.objects.filter(state=State.SENT, lease_until__lt=Now()).values_list("pk", "lease_number")[:_LIMIT]
    for output_id, lease_number in list(rows):
        _end_attempt(output_id, lease_number, now)
        if not fail_after_unknowns(output_id, lease_number=lease_number, now=now):
            _requeue(output_id, lease_number, now)


def _end_attempt(output_id: uuid.UUID, lease_number: int, now: datetime) -> None:
    Attempt.objects.filter(output_id=output_id, lease_number=lease_number, status=Attempt.Status.SENT).update(
        status=Attempt.Status.UNKNOWN,
        error_kind="unknown",
        finished_at=now,
        upstream_message="the worker that made this call is gone",
    )


def _requeue(output_id: uuid.UUID, lease_number: int, now: datetime) -> None:
    with write_transaction():
        back = Output.objects.filter(
            pk=output_id, state=State.SENT, lease_number=lease_number, lease_until__lt=Now()
        ).update(state=State.QUEUED, next_run_at=Now(), nudged_at=None, lease_until=None)
        if back and Output.objects.filter(pk=output_id, is_cancel_requested=True).exists():
            settlement.cancel_output(output_id, now=now)


def _settle_received(now: datetime) -> None:
    """The image is stored and the settlement was cut off: settle it, without another call."""
    stale = Output.objects.filter(state=State.RECEIVED, media__created_at__lt=now - _FINISH_PATIENCE)
    for output_id in list(stale.values_list("pk", flat=True)[:_LIMIT]):
        settlement.succeed(output_id, now=now)


def purge(*, now: datetime) -> None:
    """Forget idempotency keys past their days, and spool files that a crash left behind."""
    media.remove_old_spool_files(older_than=now - _SPOOL_AGE)
    IdempotencyKey.objects.filter(created_at__lt=now - timedelta(days=settings.NBP_IDEMPOTENCY_DAYS)).delete()
