"""What a job brought, settled item by item: each image is charged once, whatever becomes of the others."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

from django.db import InterfaceError, OperationalError

from accounts import crash_points
from accounts.transactions import write_transaction
from generation import settlement
from generation.contract import Answer, ChannelError
from generation.execution import job_calls, results
from generation.execution.leases import Lease
from generation.execution.roads import may_run_on
from generation.models import Attempt, Job, Output, State

logger = logging.getLogger(__name__)
LATE = ("deadline_exceeded", "The image was not made by its deadline. Nothing was charged.")


def settle(job: Job, *, now: datetime) -> None:
    """Take in all results. Those that were taken in before, by a process that died, are left as they are."""
    waiting = {job_calls.key_of(each): each for each in job_calls.items_of(job)}
    for key, found in job_calls.results(job):
        attempt = waiting.pop(key, None)
        if attempt is None:
            logger.warning("job %s has a result that nobody waits for: %s", job.public_id, key[:60])
            _drop(found)
        else:
            _settle_one(attempt, found)
            crash_points.reached("job.settling")
    for attempt in waiting.values():
        _settle_one(attempt, ChannelError("failed", "the job brought no result for it"))
    end(job, "ended", now)


def _settle_one(attempt: Attempt, found: Answer | ChannelError) -> None:
    lease = Lease(attempt.output_id, attempt.lease_number)
    now = datetime.now(UTC)
    try:
        if isinstance(found, ChannelError):
            _failed(lease, attempt, found, now)
        else:
            results.answered(lease, attempt, found, now=now)
    except (OperationalError, InterfaceError):
        # What is settled stays so; the job's next round takes in this one and all that come after it.
        logger.exception("a result of output %s cannot be settled now", attempt.output_id)
        raise
    except Exception as error:
        logger.exception("a result of output %s cannot be settled", attempt.output_id)
        _make_anew(lease, attempt, error, now)
    finally:
        _drop(found)


def _make_anew(lease: Lease, attempt: Attempt, error: Exception, now: datetime) -> None:
    """A result that would fail again in each round is lost, and counts as one that never came."""
    is_kept = not Output.objects.filter(pk=lease.output_id, state=State.SENT, lease_number=lease.number).exists()
    if is_kept:
        # The image is its output's, and the sweeper settles it.
        return
    _failed(lease, attempt, ChannelError("unknown", f"the result cannot be settled: {type(error).__name__}"), now)


def _drop(found: Answer | ChannelError) -> None:
    if isinstance(found, Answer) and found.image is not None:
        found.image.path.unlink(missing_ok=True)


def _failed(lease: Lease, attempt: Attempt, error: ChannelError, now: datetime) -> None:
    """An item that failed is tried again, alone or with others, as long as there is time."""
    results.end_attempt(lease, attempt, error, now=now)
    deadline = attempt.output.generation.deadline_at
    if deadline is None or now < deadline or may_run_on(attempt.output.generation):
        return
    with write_transaction():
        settlement.fail(
            lease.output_id, code=LATE[0], message=LATE[1], now=now, states=(State.QUEUED,), lease_number=lease.number
        )


def drop_canceled(job: Job, *, now: datetime) -> int:
    """Take out what was canceled before the job left, for free; how many items are left."""
    # A job that waits for room comes by here again and again: all that a call is made of is read when it leaves.
    error = ChannelError("unreachable", "canceled before it was sent")
    for attempt in job_calls.items_of(job).filter(output__is_cancel_requested=True):
        results.end_attempt(Lease(attempt.output_id, attempt.lease_number), attempt, error, now=now)
    return job_calls.items_of(job).count()


def end_late(job: Job, error: ChannelError, *, now: datetime, grace: timedelta = timedelta(0)) -> int:
    """End the items whose own deadline is over for so long, for a job holds images of many; how many are left."""
    items = job_calls.items_of(job)
    if job.deadline_at is not None and job.deadline_at + grace >= now:
        return items.count()
    deadlines = dict(items.values_list("pk", "output__generation__deadline_at"))
    late = [pk for pk, deadline in deadlines.items() if deadline is not None and deadline + grace < now]
    for attempt in items.filter(pk__in=late):
        _failed(Lease(attempt.output_id, attempt.lease_number), attempt, error, now)
    left = [deadline for pk, deadline in deadlines.items() if pk not in late]
    Job.objects.filter(pk=job.pk).update(deadline_at=min(filter(None, left), default=None))
    return len(left)


def give_back(job: Job, error: ChannelError, *, now: datetime, outcome: str = "failed") -> None:
    """The job brought nothing: its items are free to run again."""
    for attempt in job_calls.items_of(job):
        _failed(Lease(attempt.output_id, attempt.lease_number), attempt, error, now)
    end(job, outcome, now, error.message)


def end(job: Job, outcome: str, now: datetime, message: str = "") -> None:
    Job.objects.filter(pk=job.pk).update(
        state=Job.State.ENDED, outcome=outcome[:10], ended_at=now, message=message[:500]
    )
