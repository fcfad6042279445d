"""Batches as doors show them, and what their owners may say to them."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from django.db.models import Count, Q, QuerySet
from django.db.models.functions import Now

from accounts.authentication import Requester
from accounts.transactions import write_transaction
from generation import queries
from generation.batches import canonical
from generation.batches.forgetting import kept_for
from generation.contract import Refusal
from generation.models import Batch, BatchItem

ENDED = frozenset({Batch.Status.COMPLETED, Batch.Status.CANCELED, Batch.Status.EXPIRED, Batch.Status.FAILED})


@dataclass(frozen=True, slots=True)
class Summary:
    """A batch with its counts: `made_count` items have an image, `failed_count` ended without, `left_count` of them
    never began."""

    id: uuid.UUID
    kind: str
    title: str
    metadata: Mapping[str, str]
    input_file: str
    status: str
    faults: Sequence[Mapping[str, Any]]
    item_count: int
    made_count: int
    failed_count: int
    left_count: int
    created_at: datetime
    started_at: datetime | None
    cancel_requested_at: datetime | None
    ended_at: datetime | None
    expires_at: datetime

    @property
    def has_ended(self) -> bool:
        return self.status in ENDED


class Counts(NamedTuple):
    """Items of a batch by what became of them."""

    made: int = 0
    failed: int = 0
    left: int = 0


@dataclass(frozen=True, slots=True)
class Item:
    """A request of a batch and what came of it: a generation, a refusal, or nothing, if it was never begun."""

    index: int
    name: str
    options: Mapping[str, Any]
    reading: queries.Reading | None
    refusal: Refusal | None


def find(requester: Requester, door: str, batch_id: uuid.UUID | None) -> Summary:
    """One of the requester's own batches, or a refusal."""
    row = _own(requester, door).filter(pk__in=filter(None, [batch_id])).first()
    if row is None:
        raise Refusal("not_found", "batch_not_found", "There is no batch of yours with that id.")
    return _summary(row, _counts([row]).get(row.pk, Counts()))


def listed(requester: Requester, door: str, *, limit: int, after: uuid.UUID | None = None) -> list[Summary]:
    """A page of the requester's own batches, newest first; `after` is the last one's id."""
    rows = _own(requester, door)
    if after is not None:
        rows = rows.filter(pk__lt=after)
    found = list(rows.order_by("-pk")[:limit])
    counts = _counts(found)
    return [_summary(row, counts.get(row.pk, Counts())) for row in found]


def items(batch_id: uuid.UUID, *, after: int = -1, limit: int = 20) -> list[Item]:
    """The next items of a batch, in their order, with their generations as they are now."""
    rows = list(BatchItem.objects.filter(batch=batch_id, index__gt=after).order_by("index")[:limit])
    found = queries.readings([row.generation_id for row in rows if row.generation_id])
    return [
        Item(
            index=row.index,
            name=row.name,
            options=row.options,
            reading=found.get(row.generation_id) if row.generation_id else None,
            refusal=canonical.refusal_of(row.error) if row.error else None,
        )
        for row in rows
    ]


def cancel(requester: Requester, door: str, batch_id: uuid.UUID | None, *, now: datetime) -> Summary:
    """Make no more of a batch. One that has ended stays as it ended."""
    found = find(requester, door, batch_id)
    rows = Batch.objects.filter(pk=found.id, status=Batch.Status.IN_PROGRESS)
    with write_transaction():
        rows.update(status=Batch.Status.CANCELING, cancel_requested_at=now)
    return find(requester, door, batch_id)


def hide(requester: Requester, door: str, batch_id: uuid.UUID | None) -> None:
    """Take a batch off its owner's list. What of it is not made yet still will be."""
    found = find(requester, door, batch_id)
    with write_transaction():
        Batch.objects.filter(pk=found.id).update(is_hidden=True)


def delivered(batch_id: uuid.UUID) -> None:
    """Its owner has been told of it."""
    with write_transaction():
        Batch.objects.filter(pk=batch_id, delivered_at=None).update(delivered_at=Now())


def left(batch_id: uuid.UUID) -> None:
    """Its client has gone before it was told."""
    with write_transaction():
        Batch.objects.filter(pk=batch_id, delivered_at=None).update(left_at=Now())


def forgotten_at(batch: Summary) -> datetime:
    """When a batch that has ended is forgotten."""
    return (batch.ended_at or batch.expires_at) + kept_for()


def _own(requester: Requester, door: str) -> QuerySet[Batch]:
    return Batch.objects.filter(account=requester.account, mode=requester.mode, door=door, is_hidden=False)


def _counts(rows: Sequence[Batch]) -> dict[uuid.UUID, Counts]:
    """What became of the items, by batch, in one statement."""
    made = Q(generation__finished_at__isnull=False, generation__succeeded_count__gt=0)
    unmade = Q(generation__finished_at__isnull=False, generation__succeeded_count=0)
    is_left = Q(state=BatchItem.State.LEFT)
    found = BatchItem.objects.filter(batch__in=[row.pk for row in rows]).order_by().values("batch_id")
    counted = found.annotate(
        made=Count("pk", filter=made),
        failed=Count("pk", filter=unmade | Q(state=BatchItem.State.REFUSED) | is_left),
        left=Count("pk", filter=is_left),
    )
    return {row[0]: Counts(*row[1:]) for row in counted.values_list("batch_id", "made", "failed", "left")}


def _summary(row: Batch, counts: Counts) -> Summary:
    return Summary(
        id=row.pk,
        kind=row.kind,
        title=row.title,
        metadata=row.metadata,
        input_file=row.input_file,
        status=row.status,
        faults=row.faults,
        item_count=row.item_count,
        made_count=counts.made,
        failed_count=counts.failed,
        left_count=counts.left,
        created_at=row.created_at,
        started_at=row.started_at,
        cancel_requested_at=row.cancel_requested_at,
        ended_at=row.ended_at,
        expires_at=row.expires_at,
    )
