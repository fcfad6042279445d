"""The one way to open a transaction that writes, and to do it again when the database asks for that.

SQLite has one writer; its busy handler is unfair and made some wait for seconds at saturation, so writers of one
process queue at a lock of ours before they ask the database.
"""

from __future__ import annotations

import functools
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import ParamSpec, TypeVar

from django.db import OperationalError, connection, transaction

P = ParamSpec("P")
R = TypeVar("R")
logger = logging.getLogger(__name__)
_sqlite_writers = threading.RLock()
_PAUSES_SECONDS = (0.02, 0.1, 0.5)
# Serialization failure, deadlock, lock not available (https://www.postgresql.org/docs/15/errcodes-appendix.html).
_TRY_AGAIN_STATES = ("40001", "40P01", "55P03")


@contextmanager
def write_transaction() -> Iterator[None]:
    """A durable transaction: it refuses to nest, so what it wrote is committed when the block ends."""
    lock = _sqlite_writers if connection.vendor == "sqlite" else nullcontext()
    with lock, transaction.atomic(durable=True):
        yield


def is_transient(error: BaseException) -> bool:
    """Whether the database undid a transaction because of others, so that the same one may well pass now."""
    if not isinstance(error, OperationalError):
        return False
    state = getattr(error.__cause__, "sqlstate", None)
    return state in _TRY_AGAIN_STATES or "database is locked" in str(error) or "table is locked" in str(error)


def repeatable(work: Callable[P, R]) -> Callable[P, R]:
    """For a function that is one write transaction and nothing else: done again, as a whole, up to three times, when
    the database broke it off because of others. Inside somebody else's transaction it is done once."""

    @functools.wraps(work)
    def patient(*args: P.args, **kwargs: P.kwargs) -> R:
        for pause in _PAUSES_SECONDS:
            try:
                return work(*args, **kwargs)
            except OperationalError as error:
                if not is_transient(error) or connection.in_atomic_block:
                    raise
                logger.warning("%s is done again: %s", work.__qualname__, error)
                time.sleep(pause * (0.5 + random.random()))
        return work(*args, **kwargs)

    return patient


def require_transaction() -> None:
    """Fail loudly where money would move outside the transaction that explains it."""
    assert connection.in_atomic_block, "money moves only inside the caller's transaction"


def forbid_transaction() -> None:
    """Fail loudly where we would wait for a stranger with a transaction open."""
    assert not connection.in_atomic_block, "nobody waits for a stranger with a transaction open"
