"""The life of a job: closed, created upstream, looked after, and its results settled one by one.

Each step is a row first and a request after it. A process that dies between the two leaves a row that says what may
have happened, and the next one finds out.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.models import Q, Sum
from django.db.models.expressions import CombinedExpression
from django.db.models.functions import Now

from accounts import crash_points
from accounts.transactions import write_transaction
from generation.channels import health, registry
from generation.channels.models import Channel
from generation.contract import ChannelError
from generation.execution import job_calls, job_results
from generation.models import Job

logger = logging.getLogger(__name__)
State = Job.State
# How long a job that may have been created is looked for before it is created anew.
_LOST_AFTER = timedelta(minutes=1)
_LOOK_AGAIN = timedelta(seconds=5)
_MAX_CREATES = 5
_MOST_WAIT = timedelta(minutes=5)
# How long after its deadline a job is still asked for what it made.
_GIVEN_UP_AFTER = timedelta(hours=2)


def due_jobs() -> list[uuid.UUID]:
    """Jobs for which there is something to do, in nobody's hands."""
    rows = Job.objects.exclude(state=State.ENDED).filter(look_at__lte=Now())
    rows = rows.filter(Q(lease_until=None) | Q(lease_until__lt=Now()))
    return list(rows.order_by("look_at").values_list("pk", flat=True)[:100])


def advance(job_id: uuid.UUID, *, now: datetime) -> None:
    """Take a job one step further, if nobody else does."""
    with write_transaction():
        free = Job.objects.filter(pk=job_id, look_at__lte=Now()).exclude(state=State.ENDED)
        if not free.filter(Q(lease_until=None) | Q(lease_until__lt=Now())).update(lease_until=_lease_end()):
            return
    with _held(job_id):
        _step(Job.objects.select_related("channel", "image_model").get(pk=job_id), now)


def _lease_end() -> CombinedExpression:
    return Now() + timedelta(seconds=settings.NBP_LEASE_SECONDS)


@contextmanager
def _held(job_id: uuid.UUID) -> Iterator[None]:
    """Nobody else takes the job as long as this process lives: a step may take minutes."""
    is_done = threading.Event()
    keeper = threading.Thread(target=_keep, args=(job_id, is_done), name="job-lease", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        is_done.set()
        keeper.join()
        Job.objects.filter(pk=job_id).update(lease_until=None)


def _keep(job_id: uuid.UUID, is_done: threading.Event) -> None:
    while not is_done.wait(settings.NBP_LEASE_SECONDS / 3):
        try:
            Job.objects.filter(pk=job_id).update(lease_until=_lease_end())
        except DatabaseError as error:
            # Somebody else may take the job meanwhile, which costs a request and never a second charge.
            logger.warning("the lease of a job could not be extended: %s", error)
        finally:
            connection.close()


def _step(job: Job, now: datetime) -> None:
    steps: dict[str, Callable[[Job, datetime], None]] = {
        State.OPEN: _close,
        State.CLOSED: _create,
        State.CREATING: _find,
        State.RUNNING: _look,
    }
    try:
        steps[job.state](job, now)
    except ChannelError as error:
        health.note_error(str(job.channel_id), job.image_model_id, error, now=now)
        # What it made, if anything, cannot be had: its images end all the same, and the house pays for what was billed.
        lost = ChannelError("unknown", f"given up: {error.message}"[:500])
        if job_results.end_late(job, lost, now=now, grace=_GIVEN_UP_AFTER):
            _later(job, now, error)
        else:
            logger.error("job %s is given up: %s", job.public_id, error.message)
            job_results.end(job, "lost", now, error.message)


def _later(job: Job, now: datetime, error: ChannelError) -> None:
    """The upstream cannot be asked now; the job is as it was."""
    seconds = min(timedelta(seconds=error.retry_after_seconds or settings.NBP_JOB_POLL_SECONDS), _MOST_WAIT)
    Job.objects.filter(pk=job.pk).update(look_at=now + seconds, message=error.message[:500])
    logger.warning("job %s waits: %s: %s", job.public_id, error.kind, error.message)


def _close(job: Job, now: datetime) -> None:
    """It has gathered long enough: nothing joins it any more."""
    Job.objects.filter(pk=job.pk, state=State.OPEN).update(state=State.CLOSED, look_at=now)


def _create(job: Job, now: datetime) -> None:
    """Create it upstream, once there is room in the channel's queue. The intent is written before a byte leaves."""
    job_results.end_late(job, ChannelError("unreachable", "it was not sent by its deadline"), now=now)
    if job.create_count >= _MAX_CREATES:
        job_results.give_back(job, ChannelError("failed", job.message or "the job could not be created"), now=now)
        return
    if not job_results.drop_canceled(job, now=now):
        job_results.give_back(job, ChannelError("unreachable", "nothing is left of it"), now=now)
        return
    if not _takes_room(job, now):
        Job.objects.filter(pk=job.pk).update(look_at=now + timedelta(seconds=settings.NBP_JOB_POLL_SECONDS))
        return
    crash_points.reached("job.creating")
    try:
        name = job_calls.create(job)
    except ChannelError as error:
        _not_created(job, error, now)
        return
    crash_points.reached("job.created")
    _runs(job, name, now)


def _takes_room(job: Job, now: datetime) -> bool:
    """Write the intent, if the tokens queued upstream stay below the channel's limit with this job."""
    with write_transaction():
        channel = Channel.objects.select_for_update(no_key=True).get(pk=job.channel_id)
        queued = Job.objects.filter(channel=channel, state__in=(State.CREATING, State.RUNNING)).exclude(pk=job.pk)
        tokens = queued.aggregate(sum=Sum("token_estimate"))["sum"] or 0
        is_open = registry.is_open(channel, now=now)
        is_first = not tokens
        has_room = channel.queued_tokens is None or is_first or tokens + job.token_estimate <= channel.queued_tokens
        if is_open and has_room:
            Job.objects.filter(pk=job.pk).update(
                state=State.CREATING, create_count=job.create_count + 1, sent_at=now, look_at=now
            )
    return is_open and has_room


def _not_created(job: Job, error: ChannelError, now: datetime) -> None:
    if error.kind in ("unknown", "interrupted"):
        # It may exist: it is looked for before anything else.
        # From when it was last waited for, since an answer may take minutes to be lost.
        Job.objects.filter(pk=job.pk).update(sent_at=datetime.now(UTC))
        _later(job, now, error)
        return
    Job.objects.filter(pk=job.pk).update(state=State.CLOSED)
    if error.kind in ("unauthorized", "rejected"):
        health.note_error(str(job.channel_id), job.image_model_id, error, now=now)
        job_results.give_back(job, error, now=now)
        return
    raise error


def _runs(job: Job, name: str, now: datetime) -> None:
    poll = timedelta(seconds=settings.NBP_JOB_POLL_SECONDS)
    Job.objects.filter(pk=job.pk).update(state=State.RUNNING, upstream_name=name[:200], look_at=now + poll, message="")
    health.note_success(job.channel, job.image_model_id, started_at=job.sent_at or now, now=now)


def _find(job: Job, now: datetime) -> None:
    """Whoever created it died, or heard no answer: is it there? Of several the oldest counts, the others are ended."""
    names = job_calls.find(job)
    if names:
        for extra in names[1:]:
            job_calls.cancel(job, extra)
        _runs(job, names[0], now)
    elif job.sent_at is None or job.sent_at < now - _LOST_AFTER:
        Job.objects.filter(pk=job.pk).update(state=State.CLOSED, look_at=now)
    else:
        Job.objects.filter(pk=job.pk).update(look_at=now + _LOOK_AGAIN)


def _look(job: Job, now: datetime) -> None:
    status = job_calls.look(job)
    if status.state == "ended":
        job_results.settle(job, now=now)
    elif status.state == "running":
        _wait(job, now)
    else:
        error = ChannelError("failed", f"the job is {status.state}: {status.message}"[:500])
        job_results.give_back(job, error, now=now, outcome=status.state)


def _wait(job: Job, now: datetime) -> None:
    """Not done yet. Images whose own deadline is over end without it, and it is given up when none is left."""
    if not job_results.end_late(job, ChannelError("unknown", "it was not done by its deadline"), now=now):
        job_calls.cancel(job, job.upstream_name)
        job_results.end(job, "canceled", now)
        return
    Job.objects.filter(pk=job.pk).update(look_at=now + timedelta(seconds=settings.NBP_JOB_POLL_SECONDS))
