"""A thread that sweeps: every worker process has one, and several do no more than one."""

from __future__ import annotations

import logging
import threading
import time

from django.db import DatabaseError, connection

from generation import tasks
from nbp_site.operating import gauges, probing, purging

logger = logging.getLogger(__name__)
_EVERY_SECONDS = 0.5


class Sweeper:
    """Due rows are nudged within a second; what a crash left behind is mended when its lease has ended."""

    def __init__(self) -> None:
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._purge_at = 0.0

    def start(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._stopped.clear()
            self._thread = threading.Thread(target=self._run, name="sweeper", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(timeout=5)
            self._say_goodbye()

    def _run(self) -> None:
        while not self._stopped.wait(_EVERY_SECONDS):
            try:
                self._sweep()
            except DatabaseError as error:
                logger.warning("the sweeper could not reach the database: %s", error)
            except Exception:
                # A sweeper that dies leaves stranded work behind for good; say what happened and go on.
                logger.exception("the sweeper failed")
            finally:
                connection.close()

    def _sweep(self) -> None:
        tasks.sweep()
        gauges.SWEPT_AT.set_to_current_time()
        probing.PROBE.step()
        if time.monotonic() >= self._purge_at:
            wait_seconds = purging.purge_some()
            self._purge_at = time.monotonic() + wait_seconds

    def _say_goodbye(self) -> None:
        try:
            probing.say_goodbye()
        except DatabaseError as error:
            logger.warning("this worker's row stays behind for a while: %s", error)
        finally:
            connection.close()


SWEEPER = Sweeper()
