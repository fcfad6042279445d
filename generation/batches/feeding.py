"""Open batches go on: what there is room for is accepted, what is given up is given up, and what is over ends.

Any number of processes may do this at once, and each may stop anywhere: an item is claimed for a while, and accepted
under an idempotency key of its own.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from accounts.authentication import AuthenticationFailed, Requester, check_state
from accounts.identifiers import public_id
from accounts.transactions import write_transaction
from generation import media, submission
from generation.batches import canonical
from generation.batches.creation import KEPT_FOR, storage_name
from generation.contract import Refusal
from generation.execution import running_cap
from generation.models import LIVE_STATES, Batch, BatchItem, Output

logger = logging.getLogger(__name__)
# No client can send a key with this in it: headers are of printable ASCII.
_KEY = "\u00a7batch"
_READ_WITHIN = timedelta(minutes=10)
# Longer than any acceptance takes, with the images that it fetches.
_CLAIMED_FOR = timedelta(minutes=5)
_TRY_AGAIN_AFTER = timedelta(seconds=10)
# These pass; whatever else is refused would be refused again.
_PASSING = frozenset({"rate_limit", "unavailable", "conflict"})
_AT_ONCE = 50
State = BatchItem.State
Status: TypeAlias = Batch.Status


def advance(*, now: datetime) -> bool:
    """Bring every open batch forward. True if something was accepted."""
    batches = Batch.objects.filter(ended_at=None).select_related("account", "api_key").order_by("pk")
    return sum(_advance_apart(batch, now) for batch in batches) > 0


def _advance_apart(batch: Batch, now: datetime) -> bool:
    """What goes wrong with one batch does not keep the others waiting."""
    try:
        return _STEPS[Status(batch.status)](batch, now)
    except Exception:
        logger.exception("batch %s could not be brought forward", batch.public_id)
        return False


def _still_reading(batch: Batch, now: datetime) -> bool:
    """A process that stopped while it read the requests has left nothing that may be made."""
    if batch.created_at < now - _READ_WITHIN:
        message = "The service stopped while it read the requests. Send the batch again."
        fault = {"line": None, "code": "internal_error", "message": message, "param": None}
        rows = Batch.objects.filter(pk=batch.pk, status=Status.VALIDATING)
        with write_transaction():
            rows.update(status=Status.FAILED, ended_at=now, faults=[fault])
        media.remove(storage_name(batch.pk))
    return False


def _make(batch: Batch, now: datetime) -> bool:
    """Accept what there is room for, or end."""
    if batch.expires_at <= now:
        _turn(batch, Status.IN_PROGRESS, Status.EXPIRING)
        return False
    claimed = _claim(batch, _room(batch))
    for item in claimed:
        _accept(batch, item)
    if not claimed:
        _end_if_over(batch, Status.COMPLETED, now)
    return bool(claimed)


def _give_up(batch: Batch, now: datetime) -> bool:
    """What has not begun is left, what runs is cancelled as far as it can be, and then it ends."""
    free = Q(try_at=None) | Q(try_at__lte=Now())
    with write_transaction():
        BatchItem.objects.filter(free, batch=batch, state=State.PENDING).update(state=State.LEFT)
    requester = _requester(batch)
    for pk in _running(batch).values_list("generation_id", flat=True)[:_AT_ONCE]:
        submission.cancel(requester, public_id("gen", pk), now=now)
    _end_if_over(batch, Status.CANCELED if batch.status == Status.CANCELING else Status.EXPIRED, now)
    return False


_STEPS = {
    Status.VALIDATING: _still_reading,
    Status.IN_PROGRESS: _make,
    Status.CANCELING: _give_up,
    Status.EXPIRING: _give_up,
}


def _turn(batch: Batch, before: Status, after: Status) -> None:
    with write_transaction():
        Batch.objects.filter(pk=batch.pk, status=before).update(status=after)


def _running(batch: Batch) -> QuerySet[BatchItem]:
    """Its items that are being made."""
    return BatchItem.objects.filter(batch=batch, state=State.ACCEPTED, generation__finished_at=None)


def _end_if_over(batch: Batch, status: Status, now: datetime) -> None:
    if BatchItem.objects.filter(batch=batch, state=State.PENDING).exists() or _running(batch).exists():
        return
    rows = Batch.objects.filter(pk=batch.pk, status=batch.status)
    with write_transaction():
        rows.update(status=status, ended_at=now)
    media.remove(storage_name(batch.pk))


def _room(batch: Batch) -> int:
    """Half the places in which an account's outputs run are for batches: the other half waits for whoever waits."""
    waiting = Output.objects.filter(account=batch.account, mode=batch.mode, lane="batch", state__in=LIVE_STATES).count()
    return min(max(1, running_cap(batch.account_id) // 2) - waiting, _AT_ONCE)


def _claim(batch: Batch, places: int) -> Sequence[BatchItem]:
    """The next items, which nobody else will try for a while."""
    if places <= 0:
        return []
    free = Q(try_at=None) | Q(try_at__lte=Now())
    rows = BatchItem.objects.filter(free, batch=batch, state=State.PENDING).order_by("index")
    with write_transaction():
        found = list(rows.select_for_update(skip_locked=True)[:places])
        BatchItem.objects.filter(pk__in=[each.pk for each in found]).update(try_at=Now() + _CLAIMED_FOR)
    return found


def _accept(batch: Batch, item: BatchItem) -> None:
    """Through the front door, and what became of it into the item."""
    rows = BatchItem.objects.filter(pk=item.pk, generation=None)
    try:
        accepted = _through_the_door(batch, item)
    except Refusal as refusal:
        found: dict[str, Any] = {"try_at": Now() + _TRY_AGAIN_AFTER}
        if refusal.kind not in _PASSING:
            found = {"state": State.REFUSED, "error": canonical.error_of(refusal)}
        rows = rows.filter(state=State.PENDING)
    else:
        found = {"state": State.ACCEPTED, "generation_id": accepted.generation_id}
    with write_transaction():
        rows.update(**found)


def _through_the_door(batch: Batch, item: BatchItem) -> submission.Accepted:
    now = datetime.now(UTC)
    requester = _requester(batch)
    _check_key(requester, now)
    try:
        with media.opened(storage_name(batch.pk)) as file:
            file.seek(item.offset)
            request = canonical.request_of(file.read(item.byte_count))
    except (FileNotFoundError, json.JSONDecodeError):
        raise Refusal("fault", "internal_error", "The stored request is no longer there.") from None
    key = f"{_KEY}:{batch.pk.hex}:{item.index}"
    return submission.accept(requester, request, now=now, idempotency_key=key, lane="batch")


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


def purge(*, now: datetime) -> None:
    """Forget batches that ended long ago; their generations stay."""
    Batch.objects.filter(ended_at__lt=now - KEPT_FOR).delete()
