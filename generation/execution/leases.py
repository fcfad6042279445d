"""Claims with leases, and the fence before any byte goes out. All times here are the database's clock.

A lease is extended by this process's heartbeat while the work is in hand. A worker that slept past its lease finds the
fence closed.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.models import F
from django.db.models.functions import Now

from accounts.transactions import require_transaction, write_transaction
from generation import settlement
from generation.models import Attempt, Generation, Output, State

logger = logging.getLogger(__name__)
OWNER = str(uuid.uuid4())


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to run an output, as long as nobody else was given a higher number."""

    output_id: uuid.UUID
    number: int


def _lease_end() -> object:
    return Now() + timedelta(seconds=settings.NBP_LEASE_SECONDS)


def forgotten_after() -> timedelta:
    """How old a call is when nobody can be waiting for it any more."""
    return timedelta(seconds=settings.NBP_CALL_DEADLINE_SECONDS + 2 * settings.NBP_LEASE_SECONDS)


def claim(output_id: uuid.UUID) -> Lease | None:
    """Take a queued output that is due, or None: somebody else has it, or it has ended."""
    with write_transaction():
        taken = Output.objects.filter(pk=output_id, state=State.QUEUED, next_run_at__lte=Now()).update(
            state=State.LEASED, lease_number=F("lease_number") + 1, lease_owner=OWNER, lease_until=_lease_end()
        )
        if not taken:
            return None
        number = Output.objects.values_list("lease_number", flat=True).get(pk=output_id)
        Output.objects.filter(pk=output_id, started_at=None).update(started_at=Now())
    return Lease(output_id, number)


def send(lease: Lease, attempt: Attempt) -> bool:
    """The fence: the attempt row and the state `sent`, together, before any byte leaves. False: do not call."""
    with write_transaction():
        passed = Output.objects.filter(
            pk=lease.output_id, state=State.LEASED, lease_number=lease.number, lease_until__gt=Now()
        ).update(state=State.SENT, lease_until=_lease_end())
        if not passed:
            return False
        attempt.save(force_insert=True)
        Generation.objects.filter(outputs=lease.output_id, status="queued").update(status="running")
    return True


def requeue(lease: Lease, *, seconds: float, now: datetime) -> bool:
    """Give the output back to the queue, inside the caller's transaction; canceled instead if that was asked."""
    require_transaction()
    back = Output.objects.filter(
        pk=lease.output_id, state__in=(State.LEASED, State.SENT), lease_number=lease.number
    ).update(state=State.QUEUED, next_run_at=Now() + timedelta(seconds=seconds), nudged_at=None, lease_until=None)
    if back and Output.objects.filter(pk=lease.output_id, is_cancel_requested=True).exists():
        settlement.cancel_output(lease.output_id, now=now)
    return bool(back)


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
                Output.objects.filter(
                    pk__in=held[start : start + 500], lease_owner=OWNER, state__in=(State.LEASED, State.SENT)
                ).update(lease_until=_lease_end())
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
