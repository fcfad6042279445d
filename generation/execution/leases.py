"""Claims with leases, and the fence before any byte goes out. All times here are the database's clock.

A lease is extended by this process's heartbeat while the work is in hand. A worker that slept past its lease finds the
fence closed.
"""

from __future__ import annotations

import logging
import threading
import uuid
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.models import F
from django.db.models.functions import Now

from accounts.transactions import write_transaction
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


def requeue(lease: Lease, *, seconds: float) -> bool:
    """Give the output back to the queue, due in that many seconds."""
    return bool(
        Output.objects.filter(
            pk=lease.output_id, state__in=(State.LEASED, State.SENT), lease_number=lease.number
        ).update(state=State.QUEUED, next_run_at=Now() + timedelta(seconds=seconds), nudged_at=None, lease_until=None)
    )


class Heartbeat:
    """Extends every lease this process has in hand, in one UPDATE, several times within a lease."""

    def __init__(self) -> None:
        self._held: set[uuid.UUID] = set()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def hold(self, output_id: uuid.UUID) -> None:
        with self._lock:
            self._held.add(output_id)
            if self._thread is None or not self._thread.is_alive():
                self._stopped.clear()
                self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
                self._thread.start()

    def drop(self, output_id: uuid.UUID) -> None:
        with self._lock:
            self._held.discard(output_id)

    def stop(self) -> None:
        self._stopped.set()

    def _beat(self) -> None:
        while not self._stopped.wait(settings.NBP_LEASE_SECONDS / 3):
            with self._lock:
                held = list(self._held)
                if not held:
                    self._thread = None
                    return
            self._extend(held)

    def _extend(self, held: list[uuid.UUID]) -> None:
        try:
            for start in range(0, len(held), 500):
                Output.objects.filter(
                    pk__in=held[start : start + 500], lease_owner=OWNER, state__in=(State.LEASED, State.SENT)
                ).update(lease_until=_lease_end())
        except DatabaseError as error:
            # The next beat tries again; a lease that ends meanwhile costs a second attempt, never a second charge.
            logger.warning("could not extend leases: %s", error)
        finally:
            connection.close()


HEARTBEAT = Heartbeat()


def stop_heartbeat() -> None:
    HEARTBEAT.stop()
