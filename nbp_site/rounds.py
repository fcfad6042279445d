"""Work that a thread of its own does again and again, whatever goes wrong with it once."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from django.db import DatabaseError, connection

logger = logging.getLogger(__name__)


class Rounds:
    """Calls `work` every so many seconds, from `start` to `stop`."""

    def __init__(self, name: str, every_seconds: float, work: Callable[[], object]) -> None:
        self._name = name
        self._every_seconds = every_seconds
        self._work = work
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._stopped.clear()
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()

    def stop(self) -> bool:
        """End with the round in hand, or a little later. Whether it had been started at all."""
        self._stopped.set()
        if self._thread is None:
            return False
        self._thread.join(timeout=5)
        return True

    def _run(self) -> None:
        while not self._stopped.wait(self._every_seconds):
            try:
                self._work()
            except DatabaseError as error:
                logger.warning("%s: could not reach the database: %s", self._name, error)
            except Exception:
                # A thread that dies leaves its work undone for good; say what happened and go on.
                logger.exception("%s failed", self._name)
            finally:
                connection.close()
