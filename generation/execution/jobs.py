"""Outputs on their way into a job: the attempt is written, and the call is left to whoever sends the job."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Count

from accounts.row_writes import insert_each
from accounts.transactions import require_transaction
from generation.channels.models import Channel
from generation.egress.exchange import JOB_BYTE_CAP
from generation.execution.calls import Road, result_bytes, token_estimate
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
    byte_count = _byte_count(job) if job.item_count else 0
    taken = 0
    for each in items:
        generation = each.output.generation
        tokens = job.token_estimate + token_estimate(generation)
        byte_count += result_bytes(generation.image_size)
        if job.item_count and not _has_room(job, tokens, byte_count):
            break
        each.attempt.job, taken = job, taken + 1
        job.item_count, job.token_estimate = job.item_count + 1, tokens
    deadlines = [each.output.generation.deadline_at or now + _A_DAY for each in items[:taken]]
    job.deadline_at = min([*deadlines, *filter(None, [job.deadline_at])], default=None)
    if taken < len(items) or job.item_count >= settings.NBP_JOB_MAX_ITEMS:
        job.state, job.look_at = Job.State.CLOSED, now
    job.save()
    return items[taken:]


def _has_room(job: Job, tokens: int, byte_count: int) -> bool:
    """Whether a job may grow to so many tokens, and so many bytes of results.

    One larger than all that may be queued could never be sent, and one whose results are larger than an answer may be
    could be paid for and never be read.
    """
    most = job.channel.queued_tokens
    is_heavy = most is not None and tokens > most
    return job.item_count < settings.NBP_JOB_MAX_ITEMS and not is_heavy and byte_count <= JOB_BYTE_CAP


def _byte_count(job: Job) -> int:
    """About how many bytes the results of a job will have."""
    rows = Attempt.objects.filter(job=job).order_by().values_list("output__generation__image_size")
    return sum(result_bytes(size) * count for size, count in rows.annotate(count=Count("pk")))


def _open_job(channel: Channel, image_model: ImageModel, now: datetime) -> Job:
    rows = Job.objects.filter(channel=channel, image_model=image_model, state=Job.State.OPEN)
    found = rows.select_for_update(no_key=True).order_by("pk").first()
    if found is not None:
        return found
    gathered_at = now + timedelta(seconds=settings.NBP_JOB_GATHER_SECONDS)
    return Job.objects.create(channel=channel, image_model=image_model, created_at=now, look_at=gathered_at)
