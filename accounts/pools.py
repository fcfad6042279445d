"""After a connection to the database was found dead: the others in the pool may have died with it."""

from __future__ import annotations

import threading
import time
from typing import Any

from django.db import connection

_PAUSE_SECONDS = 1.0
_looked_at = [0.0]
_looking = threading.Lock()


def look_after() -> None:
    """Have the idle connections of this process's pool tried, and dead ones replaced, in a thread of its own.

    Without it each of them costs one request, when it is taken. Harmless where there is no pool.
    """
    pool: Any = getattr(connection, "pool", None)
    with _looking:
        if pool is None or time.monotonic() - _looked_at[0] < _PAUSE_SECONDS:
            return
        _looked_at[0] = time.monotonic()
    threading.Thread(target=pool.check, name="pool-check", daemon=True).start()
