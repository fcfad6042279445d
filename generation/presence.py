"""Whose client is still connected: said in the generation's row while somebody waits for it, until it was answered.

What nobody waits for any more and nobody was answered may be joined by the same request, sent again. All times here are
the database's clock.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections import Counter
from collections.abc import Sequence
from contextvars import ContextVar
from datetime import timedelta

from django.db import DatabaseError, InterfaceError, connection
from django.db.models import Q, QuerySet
from django.db.models.expressions import CombinedExpression
from django.db.models.functions import Now

from accounts.group_commit import GroupCommit
from accounts.transactions import repeatable, write_transaction
from generation.models import Generation

logger = logging.getLogger(__name__)
# A process that dies leaves its clients' requests as connected for this long.
CONNECTED_FOR = timedelta(seconds=12)
_BEAT_SECONDS = 4.0


def connected_until() -> CombinedExpression:
    """What the row of a request says whose client is connected now."""
    return Now() + CONNECTED_FOR


def is_lost() -> Q:
    """Nobody is connected who waits for the generation, and nobody was answered."""
    return Q(delivered_at=None, connected_until__lte=Now())


def join(rows: QuerySet[Generation]) -> uuid.UUID | None:
    """Connect with the first of these rows, if there is one. Of two that join at once, each gets a row of its own."""
    for pk in rows.values_list("pk", flat=True)[:10]:
        with write_transaction():
            if rows.filter(pk=pk).update(connected_until=connected_until()):
                return pk
    return None


# Set while a request is taken in; what it holds is set when its client leaves meanwhile.
_leaving: ContextVar[threading.Event | None] = ContextVar("leaving", default=None)


def watched() -> threading.Event:
    """An event to set when the client leaves while its request, in this context, is being taken in."""
    event = threading.Event()
    _leaving.set(event)
    return event


def has_left() -> bool:
    """Whether the client has left whose request is taken in here."""
    event = _leaving.get()
    return event is not None and event.is_set()


class Presence:
    """What this process's clients wait for. Extends it in one UPDATE, several times within its term."""

    def __init__(self) -> None:
        self._held: Counter[uuid.UUID] = Counter()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def hold(self, generation_id: uuid.UUID) -> None:
        """A client waits for the generation, whose row says so already."""
        with self._lock:
            self._held[generation_id] += 1
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="presence", daemon=True)
                self._thread.start()

    def leave(self, generation_id: uuid.UUID) -> None:
        """The client has gone without an answer."""
        if self._drop(generation_id):
            _write_quietly(_LEFT, generation_id)

    def answered(self, generation_id: uuid.UUID) -> None:
        """The answer was sent, to its last byte, to a client that was there."""
        self._drop(generation_id)
        _write_quietly(_ANSWERED, generation_id)

    def _drop(self, generation_id: uuid.UUID) -> bool:
        """Whether that was the last one here."""
        with self._lock:
            self._held[generation_id] -= 1
            if self._held[generation_id] > 0:
                return False
            del self._held[generation_id]
            return True

    def _run(self) -> None:
        pause = threading.Event()
        while not pause.wait(_BEAT_SECONDS):
            with self._lock:
                held = list(self._held)
                if not held:
                    self._thread = None
                    return
            self._beat(held)

    def _beat(self, held: Sequence[uuid.UUID]) -> None:
        try:
            for start in range(0, len(held), 500):
                _extend(held[start : start + 500])
        except (DatabaseError, InterfaceError) as error:
            logger.warning("could not note who is connected: %s", error)
        finally:
            connection.close()


def _extend(generation_ids: Sequence[uuid.UUID]) -> None:
    """A row that is locked is being settled, and its client is about to be answered."""
    waiting = Generation.objects.filter(pk__in=generation_ids, delivered_at=None)
    with write_transaction():
        free = waiting.select_for_update(no_key=True, skip_locked=True).order_by("pk")
        ids = list(free.values_list("pk", flat=True))
        Generation.objects.filter(pk__in=ids).update(connected_until=connected_until())


@repeatable
def _leave_each(generation_ids: Sequence[uuid.UUID]) -> list[None]:
    with write_transaction():
        _locked(generation_ids).update(connected_until=Now())
    return [None for _ in generation_ids]


@repeatable
def _answer_each(generation_ids: Sequence[uuid.UUID]) -> list[None]:
    with write_transaction():
        _locked(generation_ids).update(delivered_at=Now())
    return [None for _ in generation_ids]


def _locked(generation_ids: Sequence[uuid.UUID]) -> QuerySet[Generation]:
    """Those that have not been answered, locked in the order in which settlement locks them."""
    rows = Generation.objects.filter(pk__in=generation_ids, delivered_at=None)
    found = rows.select_for_update(no_key=True).order_by("pk").values_list("pk", flat=True)
    return Generation.objects.filter(pk__in=list(found))


_LEFT, _ANSWERED = GroupCommit(_leave_each), GroupCommit(_answer_each)


def _write_quietly(commit: GroupCommit[uuid.UUID, None], generation_id: uuid.UUID) -> None:
    """What cannot be written is found by the time in the row."""
    try:
        commit.do(generation_id)
    except (DatabaseError, InterfaceError) as error:
        logger.warning("could not note what became of the client of %s: %s", generation_id, error)


PRESENCE = Presence()
