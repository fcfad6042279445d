"""Open batches go on: what there is room for is accepted, what is given up is given up, and what is over ends.

Any number of processes may do this at once, and each may stop anywhere: an item is claimed for a while, one at a time,
and accepted under an idempotency key of its own.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

from django.db import InterfaceError, OperationalError
from django.db.models import Q, QuerySet, Sum
from django.db.models.functions import Now

from accounts.authentication import AuthenticationFailed, Requester, check_state
from accounts.identifiers import public_id
from accounts.models import Account
from accounts.transactions import write_transaction
from generation import media, submission
from generation.batches import canonical
from generation.batches.creation import storage_name
from generation.contract import Refusal
from generation.execution import running_cap
from generation.models import IN_JOB, LIVE_STATES, Batch, BatchItem, IdempotencyKey, Output

logger = logging.getLogger(__name__)
# No client can send a key with this in it: headers are of printable ASCII.
_KEY = "\u00a7batch"
_READ_WITHIN = timedelta(minutes=10)
# Longer than any acceptance takes, with the images that it fetches.
_CLAIMED_FOR = timedelta(minutes=5)
_WAIT_SECONDS = 10.0
# An account whose acceptances take long waits ten times as long, so that it does not hold up the others.
_SLOW_SECONDS, _SLOW_FACTOR = 1.0, 10
_VISIT_SECONDS = 2.0
# These pass; whatever else is refused would be refused again.
_PASSING = frozenset({"rate_limit", "unavailable", "conflict"})
_AT_ONCE = 50
State = BatchItem.State
Status: TypeAlias = Batch.Status


def advance(*, now: datetime) -> None:
    """Bring every open batch forward."""
    open_batches = Batch.objects.filter(Q(try_at=None) | Q(try_at__lte=Now()), ended_at=None).order_by("pk")
    for batch in open_batches:
        _advance_apart(batch, now)


def _advance_apart(batch: Batch, now: datetime) -> None:
    """What goes wrong with one batch does not keep the others waiting."""
    try:
        _STEPS[Status(batch.status)](batch, now)
    except Exception:
        logger.exception("batch %s could not be brought forward", batch.public_id)


def _still_reading(batch: Batch, now: datetime) -> None:
    """A process that stopped while it read the requests has left nothing that may be made."""
    if batch.created_at >= now - _READ_WITHIN:
        return
    message = "The service stopped while it read the requests. Send the batch again."
    fault = {"line": None, "code": "internal_error", "message": message, "param": None}
    rows = Batch.objects.filter(pk=batch.pk, status=Status.VALIDATING)
    with write_transaction():
        is_mine = rows.update(status=Status.FAILED, ended_at=now, faults=[fault]) > 0
        if is_mine:
            BatchItem.objects.filter(batch=batch).delete()
    if is_mine:
        media.remove(storage_name(batch.pk))


def _make(batch: Batch, now: datetime) -> None:
    """Accept what there is room for, for a moment, or end."""
    if batch.expires_at <= now:
        with write_transaction():
            Batch.objects.filter(pk=batch.pk, status=Status.IN_PROGRESS).update(status=Status.EXPIRING)
        return
    count, began = 0, time.monotonic()
    while time.monotonic() - began < _VISIT_SECONDS and count < _AT_ONCE:
        item = _claim(batch)
        if item is None:
            break
        count += 1
        if not _accept(item):
            break
    if not count:
        _end_if_over(batch, Status.COMPLETED, now)


def _give_up(batch: Batch, now: datetime) -> None:
    """What has not begun is left, what runs is cancelled as far as it can be, and then it ends."""
    for item in _free(batch).filter(try_at__isnull=False).select_related("batch"):
        # It may have been accepted by somebody who stopped before it was noted.
        known = _known(item)
        if known is not None:
            _note(item, state=State.ACCEPTED, generation_id=known)
    with write_transaction():
        _free(batch).update(state=State.LEFT)
    requester = _requester(batch)
    for pk in _running(batch).values_list("generation_id", flat=True)[:_AT_ONCE]:
        submission.cancel(requester, public_id("gen", pk), now=now)
    _end_if_over(batch, Status.CANCELED if batch.status == Status.CANCELING else Status.EXPIRED, now)


_STEPS = {
    Status.VALIDATING: _still_reading,
    Status.IN_PROGRESS: _make,
    Status.CANCELING: _give_up,
    Status.EXPIRING: _give_up,
}


def _free(batch: Batch) -> QuerySet[BatchItem]:
    """Its items that wait and that nobody has claimed."""
    unclaimed = Q(try_at=None) | Q(try_at__lte=Now())
    return BatchItem.objects.filter(unclaimed, batch=batch, state=State.PENDING)


def _running(batch: Batch) -> QuerySet[BatchItem]:
    """Its items that are being made."""
    return BatchItem.objects.filter(batch=batch, state=State.ACCEPTED, generation__finished_at=None)


def _end_if_over(batch: Batch, status: Status, now: datetime) -> None:
    if BatchItem.objects.filter(batch=batch, state=State.PENDING).exists() or _running(batch).exists():
        return
    rows = Batch.objects.filter(pk=batch.pk, status=batch.status)
    with write_transaction():
        has_ended = rows.update(status=status, ended_at=now) > 0
    if has_ended:
        media.remove(storage_name(batch.pk))


def _claim(batch: Batch) -> BatchItem | None:
    """The next item, if its account has room for it, which nobody else will try for a while.

    Its batch and its account's row are locked for that: so of two processes neither takes the last room twice, and none
    claims an item of a batch that was just given up.
    """
    with write_transaction():
        list(Account.objects.select_for_update(no_key=True).filter(pk=batch.account_id).values_list("pk"))
        is_open = Batch.objects.select_for_update(no_key=True).filter(pk=batch.pk, status=Status.IN_PROGRESS)
        if not list(is_open.values_list("pk")):
            return None
        item = _free(batch).order_by("index").first()
        if item is None or not _has_room(batch, item.n):
            return None
        BatchItem.objects.filter(pk=item.pk).update(try_at=Now() + _CLAIMED_FOR)
    # As it is now: it may have been given up, or its key revoked, since this round began.
    item.batch = Batch.objects.select_related("account", "api_key").get(pk=batch.pk)
    return item


def _has_room(batch: Batch, n: int) -> bool:
    """Half the places in which an account's outputs run are for batches: the other half is for those who wait."""
    live = Output.objects.filter(account=batch.account_id, mode=batch.mode, lane="batch", state__in=LIVE_STATES)
    live = live.exclude(IN_JOB)
    claimed = BatchItem.objects.filter(
        batch__account=batch.account_id, batch__mode=batch.mode, batch__ended_at=None, state=State.PENDING
    ).filter(try_at__gt=Now())
    taken = live.count() + (claimed.aggregate(total=Sum("n"))["total"] or 0)
    return taken == 0 or taken + n <= max(1, running_cap(batch.account_id) // 2)


def _accept(item: BatchItem) -> bool:
    """Through the front door, and what became of it into the item. False if its account had better wait."""
    began = time.monotonic()
    try:
        generation_id = _through_the_door(item)
    except Refusal as refusal:
        return _refused(item, refusal, began)
    except (OperationalError, InterfaceError):
        # It stays claimed, and is tried again after that: perhaps it was accepted.
        raise
    except Exception:
        logger.exception("item %s of batch %s cannot be accepted", item.index, item.batch.public_id)
        known = _known(item)
        if known is None:
            fault = Refusal("fault", "internal_error", "Something went wrong here with this request.")
            _note(item, state=State.REFUSED, error=canonical.error_of(fault))
            return True
        generation_id = known
    _note(item, state=State.ACCEPTED, generation_id=generation_id)
    return not _is_slow(item, began)


def _refused(item: BatchItem, refusal: Refusal, began: float) -> bool:
    if refusal.kind not in _PASSING or _can_never_run(item, refusal):
        _note(item, state=State.REFUSED, error=canonical.error_of(refusal))
        return not _is_slow(item, began)
    _note(item, try_at=Now())
    _pause(item.batch, _WAIT_SECONDS)
    return False


def _can_never_run(item: BatchItem, refusal: Refusal) -> bool:
    """Refused for want of room although nothing else of the account is unfinished: it asks for more than there is."""
    if refusal.code not in ("too_many_unfinished", "concurrency_limit"):
        return False
    return not Output.objects.filter(account=item.batch.account_id, state__in=LIVE_STATES).exists()


def _is_slow(item: BatchItem, began: float) -> bool:
    seconds = time.monotonic() - began
    if seconds <= _SLOW_SECONDS:
        return False
    _pause(item.batch, seconds * _SLOW_FACTOR)
    return True


def _pause(batch: Batch, seconds: float) -> None:
    """None of the account's batches is looked at for a while."""
    rows = Batch.objects.filter(account=batch.account_id, mode=batch.mode, status=Status.IN_PROGRESS)
    with write_transaction():
        list(Account.objects.select_for_update(no_key=True).filter(pk=batch.account_id).values_list("pk"))
        rows.update(try_at=Now() + timedelta(seconds=seconds))


def _note(item: BatchItem, **found: Any) -> None:
    """What became of an item that this process has claimed."""
    rows = BatchItem.objects.filter(pk=item.pk, generation=None, state__in=(State.PENDING, State.LEFT))
    if "generation_id" not in found:
        rows = rows.filter(state=State.PENDING)
    with write_transaction():
        rows.update(**found)


def _key_of(item: BatchItem) -> str:
    return f"{_KEY}:{item.batch_id.hex}:{item.index}"


def _known(item: BatchItem) -> uuid.UUID | None:
    """The generation that an item has become already."""
    rows = IdempotencyKey.objects.filter(account=item.batch.account_id, mode=item.batch.mode, key=_key_of(item))
    return rows.values_list("generation_id", flat=True).first()


def _through_the_door(item: BatchItem) -> uuid.UUID:
    """The generation that an item becomes, or was already when somebody stopped before it was noted."""
    known = _known(item) if item.try_at is not None else None
    if known is not None:
        return known
    requester, now = _requester(item.batch), datetime.now(UTC)
    _check_key(requester, now)
    try:
        with media.opened(storage_name(item.batch_id)) as file:
            file.seek(item.offset)
            request = canonical.request_of(file.read(item.byte_count))
    except (FileNotFoundError, json.JSONDecodeError):
        raise Refusal("fault", "internal_error", "The stored request is no longer there.") from None
    return submission.accept(requester, request, now=now, idempotency_key=_key_of(item), is_batch=True).generation_id


def _requester(batch: Batch) -> Requester:
    return Requester(account=batch.account, mode=batch.mode, api_key=batch.api_key)


def _check_key(requester: Requester, now: datetime) -> None:
    """A key that was revoked meanwhile makes nothing more."""
    assert requester.api_key is not None
    try:
        check_state(requester.api_key, now)
    except AuthenticationFailed as error:
        kind = "forbidden" if error.is_forbidden else "unauthenticated"
        raise Refusal(kind, error.code, error.message) from None
