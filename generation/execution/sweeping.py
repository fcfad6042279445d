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
from django.db.models.functions import Now

from accounts.transactions import write_transaction
from generation import media, settlement
from generation.execution.dispatch import due_everywhere
from generation.execution.results import fail_after_unknowns
from generation.models import Attempt, IdempotencyKey, Output, State

logger = logging.getLogger(__name__)
_LIMIT = 500
_FINISH_PATIENCE = timedelta(seconds=5)
_SPOOL_AGE = timedelta(hours=2)


def sweep(*, now: datetime) -> list[uuid.UUID]:
    """Mend what is stranded and answer the outputs to nudge."""
    _free_unsent()
    for output_id, lease_number in _unanswered():
        _apart(output_id, partial(_end_unanswered, output_id, lease_number, now))
    for output_id in _received(now):
        _apart(output_id, partial(settlement.succeed, output_id, now=now))
    return due_everywhere(now=now)


def _apart(output_id: uuid.UUID, mend: Callable[[], object]) -> None:
    """Mend one output; what goes wrong with it does not keep the others from being mended."""
    try:
        mend()
    except Exception:
        logger.exception("output %s could not be mended", output_id)


def _free_unsent() -> None:
    """Leased and never sent: nothing went out, so it is free to run again."""
    Output.objects.filter(state=State.LEASED, lease_until__lt=Now()).update(
        state=State.QUEUED, next_run_at=Now(), nudged_at=None, lease_until=None
    )


def _unanswered() -> list[tuple[uuid.UUID, int]]:
    """Sent by a worker that is gone."""
    rows = Output.objects.filter(state=State.SENT, lease_until__lt=Now()).order_by("lease_until")
    return list(rows.values_list("pk", "lease_number")[:_LIMIT])


def _end_unanswered(output_id: uuid.UUID, lease_number: int, now: datetime) -> None:
    """The attempt is unknown, the output queued again, or failed after too many."""
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


def _received(now: datetime) -> list[uuid.UUID]:
    """The image is stored and the settlement was cut off: it is settled without another call."""
    stale = Output.objects.filter(state=State.RECEIVED, media__created_at__lt=now - _FINISH_PATIENCE)
    return list(stale.order_by("media__created_at").values_list("pk", flat=True)[:_LIMIT])


def purge(*, now: datetime) -> None:
    """Forget idempotency keys past their days, and spool files that a crash left behind."""
    media.remove_old_spool_files(older_than=now - _SPOOL_AGE)
    IdempotencyKey.objects.filter(created_at__lt=now - timedelta(days=settings.NBP_IDEMPOTENCY_DAYS)).delete()
