"""Outputs on their way into a job: the attempt is written, and the call is left to whoever sends the job."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings

from accounts.row_writes import insert_each
from accounts.transactions import require_transaction
from generation.channels.models import Channel
from generation.execution.calls import Road, token_estimate
from generation.execution.leases import claim_for_job
from generation.models import Attempt, ImageModel, Job, Output

# The longest a provider promises for a job.
_A_DAY = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Joining:
    """An output that takes a road of jobs, with the attempt that says so."""

    output: Output
    road: Road
    attempt: Attempt

    @property
    def image_model(self) -> ImageModel:
        return self.road.image_model or self.output.generation.image_model


def join(joining: Sequence[Joining], *, now: datetime) -> None:
    """Put outputs that are locked into open jobs of their channels, inside the caller's transaction.

    They count as sent from now on, and have no lease that could end: the job answers for them.
    """
    require_transaction()
    together: dict[tuple[Channel, ImageModel], list[Joining]] = defaultdict(list)
    for each in joining:
        together[each.road.taken, each.image_model].append(each)
    for (channel, image_model), items in together.items():
        while items:
            items = _into_one(channel, image_model, items, now)
    claim_for_job([each.output.pk for each in joining])
    insert_each(each.attempt for each in joining)


def _into_one(channel: Channel, image_model: ImageModel, items: list[Joining], now: datetime) -> list[Joining]:
    """Fill one open job; what it has no room for."""
    job = _open_job(channel, image_model, now)
    most = channel.queued_tokens
    taken = 0
    tokens = job.token_estimate
    for each in items:
        more = token_estimate(each.output.generation)
        is_full = job.item_count + taken >= settings.NBP_JOB_MAX_ITEMS
        # A job larger than all that may be queued could never be sent.
        is_heavy = most is not None and job.item_count + taken > 0 and tokens + more > most
        if is_full or is_heavy:
            break
        each.attempt.job, taken, tokens = job, taken + 1, tokens + more
    deadlines = [each.output.generation.deadline_at or now + _A_DAY for each in items[:taken]]
    job.item_count += taken
    job.token_estimate = tokens
    job.deadline_at = min([*deadlines, *filter(None, [job.deadline_at])], default=None)
    if taken < len(items) or job.item_count >= settings.NBP_JOB_MAX_ITEMS:
        job.state, job.look_at = Job.State.CLOSED, now
    job.save()
    return items[taken:]


def _open_job(channel: Channel, image_model: ImageModel, now: datetime) -> Job:
    rows = Job.objects.filter(channel=channel, image_model=image_model, state=Job.State.OPEN)
    found = rows.select_for_update(no_key=True).order_by("pk").first()
    if found is not None:
        return found
    gathered_at = now + timedelta(seconds=settings.NBP_JOB_GATHER_SECONDS)
    return Job.objects.create(channel=channel, image_model=image_model, created_at=now, look_at=gathered_at)
