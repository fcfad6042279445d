"""Celery's part: an id in, one call out. Messages are only nudges; the database is the truth."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from celery import shared_task
from kombu.exceptions import OperationalError

from generation import execution, retention, uploads

logger = logging.getLogger(__name__)
_EXPIRES_SECONDS = 300
# While the broker is down nobody is made to wait for it: one try in a while is enough.
_SILENCE_SECONDS = 5.0
_silent_until = [0.0]


@shared_task(name="generation.run_output")
def run_output(*, output_id: str, **_: object) -> None:
    """Run one output, then nudge what may run in its place."""
    nudge(execution.run(uuid.UUID(output_id)))


@shared_task(name="generation.advance_job")
def advance_job(*, job_id: str, **_: object) -> None:
    """Take a job of a batch channel one step further, and nudge what it gave back."""
    execution.advance_job(uuid.UUID(job_id), now=datetime.now(UTC))


def sweep() -> None:
    """Mend what is stranded and nudge what is due."""
    nudge(execution.sweep(now=datetime.now(UTC)))
    for job_id in execution.due_jobs():
        _send(advance_job, job_id=str(job_id))


def nudge_due() -> None:
    """Nudge what is due, and mend nothing."""
    nudge(execution.due_everywhere())


def purge(*, with_retention: bool) -> bool:
    """Forget what is past its days: what crashes left here and, if wanted, a batch of words and images.

    True if there may be more.
    """
    now = datetime.now(UTC)
    execution.purge(now=now)
    uploads_left = uploads.purge(now=now)
    return with_retention and (retention.purge(now=now) or uploads_left)


def nudge(output_ids: Iterable[uuid.UUID]) -> None:
    """Tell the workers that outputs are due. A broker that is down costs seconds: the sweeper nudges again."""
    for output_id in output_ids:
        if not _send(run_output, output_id=str(output_id)):
            return


def _send(task: Any, **kwargs: str) -> bool:
    if time.monotonic() < _silent_until[0]:
        return False
    try:
        task.apply_async(kwargs=kwargs, expires=_EXPIRES_SECONDS, retry=False)
    except (OperationalError, OSError) as error:
        logger.warning("the broker takes no messages, the sweeper will nudge: %s", error)
        _silent_until[0] = time.monotonic() + _SILENCE_SECONDS
        return False
    return True
