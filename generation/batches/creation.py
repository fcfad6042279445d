"""A batch is handed in: its requests, read line by line, go into one stored file and a row for each."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, Any

from django.conf import settings
from django.db import IntegrityError
from django.db.models import Q

from accounts.authentication import Requester
from accounts.row_writes import insert_each
from accounts.transactions import write_transaction
from generation import media, submission
from generation.batches import canonical
from generation.contract import GenerationRequest, Refusal
from generation.models import Batch, BatchItem

logger = logging.getLogger(__name__)
LIVES = timedelta(hours=24)
MAX_OPEN = 20
_MAX_FAULTS = 50
_ROWS_AT_ONCE = 500
_SENT_AGAIN_WITHIN = timedelta(minutes=10)
# So long after a batch was taken in, an answer that nobody took is lost.
_ANSWERED_WITHIN = timedelta(seconds=12)


@dataclass(frozen=True, slots=True)
class Line:
    """A request of a batch as its door read it, or the refusal that it gets; `options` say how to answer it."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    request: GenerationRequest | None = None
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """What makes the whole batch unreadable; `line` counts from one."""

    line: int
    code: str
    message: str
    param: str | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """What a door says of a batch."""

    door: str
    kind: str
    request_sha256: str
    title: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    input_file: str = ""
    idempotency_key: str = ""
    is_sent_again: bool = False


def storage_name(batch_id: uuid.UUID) -> str:
    """Where the requests of a batch lie while they wait."""
    return f"batches/{batch_id.hex[-2:]}/{batch_id.hex}"


def create(requester: Requester, order: Order, lines: Iterable[Line | Fault], *, now: datetime) -> uuid.UUID:
    """Take a batch in, or answer the one that it was when it was sent before. Faults make it one that has failed.

    Raises a Refusal, and then nothing of it is left, where it cannot be taken in at all.
    """
    earlier = _earlier(requester, order, now)
    if earlier is not None:
        return earlier
    batch, is_new = _begun(requester, order, now)
    if not is_new:
        return batch.pk
    try:
        _fill(batch, lines, now)
    except Exception:
        _discard(batch)
        raise
    return batch.pk


def _earlier(requester: Requester, order: Order, now: datetime) -> uuid.UUID | None:
    """What this is the repetition of: a batch can cost so much that no client's resend may buy it again."""
    own = Batch.objects.filter(account=requester.account, mode=requester.mode)
    if order.idempotency_key:
        row = own.filter(idempotency_key=order.idempotency_key).first()
        return _same(row, order).pk if row else None
    same = own.filter(
        api_key=requester.api_key, request_sha256=order.request_sha256, created_at__gte=now - _SENT_AGAIN_WITHIN
    )
    if not order.is_sent_again:
        is_lost = Q(left_at__isnull=False) | Q(started_at__lt=now - _ANSWERED_WITHIN)
        same = same.filter(is_lost, delivered_at=None)
    found = same.order_by("-pk").values_list("pk", flat=True).first()
    if found is not None:
        # Of two that were lost, each is found by one that comes again.
        with write_transaction():
            Batch.objects.filter(pk=found).update(left_at=None)
    return found


def _same(row: Batch, order: Order) -> Batch:
    """The batch under an order's idempotency key, if it is the same order."""
    if row.request_sha256 == order.request_sha256:
        return row
    raise submission.key_reused()


def _begun(requester: Requester, order: Order, now: datetime) -> tuple[Batch, bool]:
    """The row of a batch whose requests are about to be read, and whether it is new: of two that come at once under one
    idempotency key, one is the other."""
    own = Batch.objects.filter(account=requester.account, mode=requester.mode)
    if own.filter(ended_at=None).count() >= MAX_OPEN:
        message = f"An account has at most {MAX_OPEN} batches that have not ended."
        raise Refusal("rate_limit", "too_many_batches", message, retry_after_seconds=60)
    submission.check_presence()
    batch = Batch(
        account=requester.account,
        api_key=requester.api_key,
        mode=requester.mode,
        door=order.door,
        kind=order.kind,
        title=order.title,
        metadata=dict(order.metadata),
        input_file=order.input_file,
        request_sha256=order.request_sha256,
        idempotency_key=order.idempotency_key,
        created_at=now,
        expires_at=now + LIVES,
    )
    try:
        with write_transaction():
            batch.save(force_insert=True)
    except IntegrityError:
        return _same(own.get(idempotency_key=order.idempotency_key), order), False
    return batch, True


def _fill(batch: Batch, lines: Iterable[Line | Fault], now: datetime) -> None:
    """Requests first, then the word that they are to be made: until then nobody looks at them."""
    with NamedTemporaryFile(dir=media.spool_directory()) as draft:
        count, faults = _write(batch, lines, draft)
        if not faults:
            draft.flush()
            _store(batch, Path(draft.name))
    rows = Batch.objects.filter(pk=batch.pk, status=Batch.Status.VALIDATING)
    with write_transaction():
        if faults:
            BatchItem.objects.filter(batch=batch).delete()
            rows.update(status=Batch.Status.FAILED, faults=faults, ended_at=now)
        else:
            rows.update(status=Batch.Status.IN_PROGRESS, item_count=count, started_at=now)


def _store(batch: Batch, draft: Path) -> None:
    try:
        media.store(storage_name(batch.pk), draft)
    except OSError as error:
        logger.exception("the requests of a batch cannot be stored")
        message = "This service cannot store the batch now. Try again."
        raise Refusal("unavailable", "service_unavailable", message, retry_after_seconds=30) from error


def _write(batch: Batch, lines: Iterable[Line | Fault], draft: IO[bytes]) -> tuple[int, list[dict[str, Any]]]:
    """How many lines there were, and the faults; after a fault nothing more is kept. No line is held on
    to: it may be large."""
    rows, faults, offset, count = list[BatchItem](), list[dict[str, Any]](), 0, 0
    # What is beyond the cap is read no further.
    for line in islice(lines, settings.NBP_BATCH_MAX_ITEMS + 1):
        if isinstance(line, Fault):
            faults.append(canonical.fault_of(line.line, line.code, line.message, line.param))
        elif not faults:
            row = _row(batch, count, line, offset, draft)
            offset += row.byte_count
            rows.append(row)
        count += 1
        if len(rows) == _ROWS_AT_ONCE:
            rows = _insert(batch, rows)
    _insert(batch, [] if faults else rows)
    return count, faults[:_MAX_FAULTS] or _faults_of_count(count)


def _insert(batch: Batch, rows: list[BatchItem]) -> list[BatchItem]:
    """Answers the rows that are still to be inserted: none."""
    with write_transaction():
        if not Batch.objects.filter(pk=batch.pk, status=Batch.Status.VALIDATING).exists():
            raise Refusal("unavailable", "service_unavailable", "Reading the batch took too long. Send it in parts.")
        insert_each(rows)
    return []


def _faults_of_count(count: int) -> list[dict[str, Any]]:
    if 0 < count <= settings.NBP_BATCH_MAX_ITEMS:
        return []
    message = f"A batch has 1 to {settings.NBP_BATCH_MAX_ITEMS:,} requests."
    return [canonical.fault_of(None, "too_many_requests" if count else "empty_batch", message, None)]


def _row(batch: Batch, index: int, line: Line, offset: int, draft: IO[bytes]) -> BatchItem:
    row = BatchItem(batch=batch, index=index, name=line.name, options=dict(line.options))
    if line.request is None:
        assert line.refusal is not None
        row.state, row.error = BatchItem.State.REFUSED, canonical.error_of(line.refusal)
        return row
    text = canonical.line_of(line.request)
    draft.write(text)
    row.n, row.offset, row.byte_count = line.request.n, offset, len(text)
    return row


def _discard(batch: Batch) -> None:
    """Nothing of a batch that was not taken in is left; what cannot be removed now ends as failed by itself. One that
    was taken in after all, although nobody heard of it, goes on."""
    with write_transaction():
        count, _ = Batch.objects.filter(pk=batch.pk, started_at=None).delete()
    if count:
        media.remove(storage_name(batch.pk))
