"""An outcome within a deadline. One watcher per process serves all waiters, and a waiter holds nothing but a future.

A ring wakes a waiter at once; the watcher's query for all waited-for ids, a few times a second, is the net under it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import uuid
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from django.db import DatabaseError, connection

from generation import queries, wakeups

logger = logging.getLogger(__name__)
_TICK_SECONDS = 0.25
_Waiter = tuple[asyncio.AbstractEventLoop, asyncio.Event]


class Watcher:
    """Wakes waiters whose generation has ended, and all of them when the process shuts down."""

    def __init__(self) -> None:
        self._waiters: dict[uuid.UUID, set[_Waiter]] = defaultdict(set)
        # Reentrant, because a signal handler may close the watcher while this very thread holds the lock.
        self._lock = threading.RLock()
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="watcher")
        self._ticking: asyncio.Task[None] | None = None
        self.is_closing = False
        wakeups.listen(self._heard)

    async def wait(self, generation_id: uuid.UUID, *, seconds: float) -> None:
        """Return when the generation may have ended, when the time is up, or when the process shuts down."""
        event = asyncio.Event()
        waiter = (asyncio.get_running_loop(), event)
        with self._lock:
            self._waiters[generation_id].add(waiter)
        wakeups.hear_other_processes()
        self._start_ticking()
        try:
            if not self.is_closing:
                await asyncio.wait_for(event.wait(), timeout=seconds)
        except TimeoutError:
            return
        finally:
            with self._lock:
                self._waiters[generation_id].discard(waiter)
                if not self._waiters[generation_id]:
                    del self._waiters[generation_id]

    def close(self) -> None:
        """Wake everybody: the process is shutting down. Callable from any thread or signal handler's loop."""
        self.is_closing = True
        with self._lock:
            everybody = [waiter for waiters in self._waiters.values() for waiter in waiters]
        for loop, event in everybody:
            loop.call_soon_threadsafe(event.set)

    def _heard(self, generation_id: str) -> None:
        with self._lock:
            waiters = list(self._waiters.get(uuid.UUID(generation_id), ()))
        for loop, event in waiters:
            try:
                loop.call_soon_threadsafe(event.set)
            except RuntimeError:
                logger.debug("a waiter's loop is closed")

    def _start_ticking(self) -> None:
        loop = asyncio.get_running_loop()
        if self._ticking is None or self._ticking.done() or self._ticking.get_loop() is not loop:
            self._ticking = loop.create_task(self._tick())

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            with self._lock:
                ids = list(self._waiters)
            if not ids:
                return
            for generation_id in await loop.run_in_executor(self._executor, partial(self._ended, ids)):
                self._heard(str(generation_id))

    def _ended(self, ids: list[uuid.UUID]) -> list[uuid.UUID]:
        try:
            return queries.finished(ids)
        except DatabaseError as error:
            logger.warning("could not look for ended generations: %s", error)
            return []
        finally:
            connection.close()


WATCHER = Watcher()
