"""Claims with leases, and the fence before any byte goes out. All times here are the database's clock.

A call that needs nothing fetched first is claimed and passes the fence in one transaction. Any other is claimed, and
passes the fence when it is put together: a worker that slept past its lease meanwhile finds it closed. A lease is
extended by this process's heartbeat while the work is in hand.
"""

from __future__ import annotations

import functools
import logging
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.models import F
from django.db.models.functions import Coalesce, Now

from accounts.compiled import CompiledSelect, CompiledUpdate
from accounts.group_commit import GroupCommit
from accounts.row_writes import insert_each
from accounts.transactions import repeatable, require_transaction, write_transaction
from generation import settlement
from generation.models import Attempt, Generation, Output, State

logger = logging.getLogger(__name__)
OWNER = str(uuid.uuid4())


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to run an output, as long as nobody else was given a higher number."""

    output_id: uuid.UUID
    number: int


def _lease_end(lease_seconds: int) -> object:
    return Now() + timedelta(seconds=lease_seconds)


def forgotten_after() -> timedelta:
    """How old a call is when nobody can be waiting for it any more."""
    return timedelta(
        seconds=max(settings.NBP_CALL_DEADLINE_SECONDS, settings.NBP_FLEX_DEADLINE_SECONDS)
        + 2 * settings.NBP_LEASE_SECONDS
    )


_due = CompiledSelect(
    lambda ids: (
        Output.objects.select_related("generation__price", "generation__image_model")
        .filter(pk__in=ids, state=State.QUEUED, next_run_at__lte=Now())
        .select_for_update(of=("self",), no_key=True, skip_locked=True)
        .order_by("pk")
    )
)
_leased = CompiledSelect(
    lambda ids: (
        Output.objects.select_for_update(no_key=True)
        .filter(pk__in=ids, state=State.LEASED, lease_until__gt=Now())
        .order_by("pk")
        .values_list("pk", "lease_number")
    )
)


def lock_due(output_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Output]:
    """Of these outputs those that are due and in nobody's hands, with generation, price and image model, locked."""
    require_transaction()
    return {row.pk: row for row in _due(list(set(output_ids)))}


def lease_of(output: Output) -> Lease:
    """The lease that `claim` and `claim_and_send` give on an output that was locked for them."""
    return Lease(output.pk, output.lease_number + 1)


@functools.cache
def _leasing(lease_seconds: int) -> CompiledUpdate:
    """One statement for each length of a lease, as the length stands in it."""
    values = {"lease_number": F("lease_number") + 1, "started_at": Coalesce("started_at", Now())}
    until = _lease_end(lease_seconds)
    return CompiledUpdate(
        lambda ids, states, owners: (
            Output.objects.filter(pk__in=ids),
            {**values, "state": states[0], "lease_owner": owners[0], "lease_until": until},
        )
    )


_begin = CompiledUpdate(lambda ids: (Generation.objects.filter(pk__in=ids, status="queued"), {"status": "running"}))


@repeatable
def claim_alone(output_id: uuid.UUID) -> Lease | None:
    """Claim one output and nothing else. None if it is not due, or in somebody's hands."""
    with write_transaction():
        found = lock_due([output_id])
        claim(list(found))
    return lease_of(found[output_id]) if found else None


def claim(output_ids: Sequence[uuid.UUID]) -> None:
    """Lease outputs that are locked."""
    _lease(output_ids, State.LEASED)


def claim_and_send(attempts: Sequence[Attempt]) -> None:
    """Lease outputs that are locked and let them pass the fence at once."""
    _lease([each.output_id for each in attempts], State.SENT)
    _write_sent(attempts)


def claim_for_job(output_ids: Sequence[uuid.UUID]) -> None:
    """Lease outputs that are locked, and leave them to their jobs: nobody's heart beats for them."""
    _lease(output_ids, State.SENT)
    Output.objects.filter(pk__in=output_ids).update(lease_owner="", lease_until=None)


def _lease(output_ids: Sequence[uuid.UUID], state: State) -> None:
    require_transaction()
    _leasing(settings.NBP_LEASE_SECONDS)(output_ids, [state.value], [OWNER])


def _write_sent(attempts: Sequence[Attempt]) -> None:
    for attempt in attempts:
        # A number given in a transaction that was undone may be somebody else's by now.
        attempt.pk = None
    insert_each(attempts)
    generations = {each.output.generation_id for each in attempts if each.output.generation.status == "queued"}
    _begin(list(generations))


@repeatable
def send_many(sendings: Sequence[tuple[Lease, Attempt]]) -> list[bool]:
    """The fence: attempt rows and the state `sent`, together, before any byte leaves. False: do not call."""
    with write_transaction():
        held = set(_leased([lease.output_id for lease, _ in sendings]))
        passed = [attempt for lease, attempt in sendings if (lease.output_id, lease.number) in held]
        Output.objects.filter(pk__in=[each.output_id for each in passed]).update(
            state=State.SENT, lease_until=_lease_end(settings.NBP_LEASE_SECONDS)
        )
        _write_sent(passed)
    return [(lease.output_id, lease.number) in held for lease, _ in sendings]


@repeatable
def send_beside(lease: Lease, attempt: Attempt) -> bool:
    """The fence for a second call under a lease whose first call is out. False: the output is not waiting any more."""
    with write_transaction():
        rows = Output.objects.filter(pk=lease.output_id, state=State.SENT, lease_number=lease.number)
        if not rows.select_for_update(no_key=True).exists():
            return False
        _write_sent([attempt])
    return True


_FENCE = GroupCommit(send_many)


def send(lease: Lease, attempt: Attempt) -> bool:
    """Pass the fence with an attempt, or not."""
    return _FENCE.do((lease, attempt))


def requeue(lease: Lease, *, seconds: float, now: datetime) -> bool:
    """Give the output back to the queue, inside the caller's transaction; canceled instead if that was asked."""
    require_transaction()
    back = Output.objects.filter(
        pk=lease.output_id, state__in=(State.LEASED, State.SENT), lease_number=lease.number
    ).update(state=State.QUEUED, next_run_at=Now() + timedelta(seconds=seconds), nudged_at=None, lease_until=None)
    if back and Output.objects.filter(pk=lease.output_id, is_cancel_requested=True).exists():
        settlement.cancel_output(lease.output_id, now=now)
    return bool(back)


def _extend(output_ids: Sequence[uuid.UUID]) -> None:
    """A heartbeat. A row that is locked is being written by who runs it; to wait for it would make others wait."""
    ours = Output.objects.filter(pk__in=output_ids, lease_owner=OWNER, state__in=(State.LEASED, State.SENT))
    with write_transaction():
        free = ours.select_for_update(no_key=True, skip_locked=True).order_by("pk")
        Output.objects.filter(pk__in=list(free.values_list("pk", flat=True))).update(
            lease_until=_lease_end(settings.NBP_LEASE_SECONDS)
        )


class Heartbeat:
    """Extends every lease this process has in hand, in one UPDATE, several times within a lease."""

    def __init__(self) -> None:
        self._held: set[Lease] = set()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._beaten_at = time.monotonic()

    def hold(self, lease: Lease) -> None:
        with self._lock:
            self._held.add(lease)
            if self._thread is None or not self._thread.is_alive():
                self._stopped.clear()
                self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
                self._thread.start()

    def drop(self, lease: Lease) -> None:
        with self._lock:
            self._held.discard(lease)

    def stop(self) -> None:
        self._stopped.set()

    def catch_up(self) -> None:
        """Extend now if beats were missed: a sweeper must not take this process's own live calls for dead."""
        if time.monotonic() - self._beaten_at > settings.NBP_LEASE_SECONDS / 2:
            self._beat()

    def _run(self) -> None:
        pause = settings.NBP_LEASE_SECONDS / 3
        while not self._stopped.wait(pause):
            with self._lock:
                if not self._held:
                    self._thread = None
                    return
            pause = settings.NBP_LEASE_SECONDS / 3 if self._beat() else 1.0

    def _beat(self) -> bool:
        with self._lock:
            held = [lease.output_id for lease in self._held]
        try:
            for start in range(0, len(held), 500):
                _extend(held[start : start + 500])
        except DatabaseError as error:
            # The next beat tries again; a lease that ends meanwhile costs a second attempt, never a second charge.
            logger.warning("could not extend leases: %s", error)
            return False
        finally:
            connection.close()
        self._beaten_at = time.monotonic()
        return True


HEARTBEAT = Heartbeat()


def stop_heartbeat() -> None:
    HEARTBEAT.stop()
