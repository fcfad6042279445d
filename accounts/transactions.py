"""The one way to open a transaction that writes.

SQLite has one writer; its busy handler is unfair and made some wait for seconds at saturation, so writers of one
process queue at a lock of ours before they ask the database.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from django.db import connection, transaction

_sqlite_writers = threading.RLock()


@contextmanager
def write_transaction() -> Iterator[None]:
    """A durable transaction: it refuses to nest, so what it wrote is committed when the block ends."""
    lock = _sqlite_writers if connection.vendor == "sqlite" else nullcontext()
    with lock, transaction.atomic(durable=True):
        yield


def require_transaction() -> None:
    """Fail loudly where money would move outside the transaction that explains it."""
    assert connection.in_atomic_block, "money moves only inside the caller's transaction"


def forbid_transaction() -> None:
    """Fail loudly where we would wait for a stranger with a transaction open."""
    assert not connection.in_atomic_block, "nobody waits for a stranger with a transaction open"
