"""An outcome within a deadline. One watcher per process serves all waiters, and a waiter holds nothing but an event.

A ring wakes a waiter at once; the watcher's query for all waited-for ids, a few times a second, is the net under it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import uuid
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from django.db import DatabaseError, connection

from generation import queries, wakeups

logger = logging.getLogger(__name__)
_TICK_SECONDS = 0.25
# Where rings are heard, a look finds nothing but what was rung in the moment of a lost connection.
_TICK_SECONDS_WITH_RINGS = 1.0
_REMEMBERED = 4096
_Waiter = tuple[asyncio.AbstractEventLoop, asyncio.Event]


class Watcher:
    """Wakes waiters whose generation has ended, and all of them when the process shuts down."""

    def __init__(self) -> None:
        self._waiters: dict[uuid.UUID, set[_Waiter]] = defaultdict(set)
        # What has ended stays ended: a ring between a commit and the wait for it is remembered, not lost.
        self._ended: OrderedDict[uuid.UUID, None] = OrderedDict()
        # Reentrant, because a signal handler may close the watcher while this very thread holds the lock.
        self._lock = threading.RLock()
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="watcher")
        self._ticking: asyncio.Task[None] | None = None
        self.is_closing = False
        wakeups.listen(self._heard)

    def attend(self) -> None:
        """Hear rings from now on: for what is about to begin and may end before anybody waits for it."""
        wakeups.hear_other_processes()

    async def wait(self, generation_id: uuid.UUID, *, seconds: float) -> None:
        """Return when the generation may have ended, when the time is up, or when the process shuts down."""
        event = asyncio.Event()
        waiter = (asyncio.get_running_loop(), event)
        with self._lock:
            if self.is_closing or generation_id in self._ended:
                return
            self._waiters[generation_id].add(waiter)
        self.attend()
        self._start_ticking()
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            return
        finally:
            with self._lock:
                self._waiters[generation_id].discard(waiter)
                if not self._waiters[generation_id]:
                    del self._waiters[generation_id]

    def close(self) -> None:
        """Wake everybody: the process is shutting down. Callable from any thread or signal handler's loop."""
        with self._lock:
            self.is_closing = True
            everybody = [waiter for waiters in self._waiters.values() for waiter in waiters]
        _wake(everybody)

    def _heard(self, generation_ids: Sequence[str]) -> None:
        try:
            self._remember([uuid.UUID(each) for each in generation_ids])
        except ValueError:
            logger.warning("a ring for something that is no generation's id")

    def _remember(self, ended: Sequence[uuid.UUID]) -> None:
        with self._lock:
            self._ended.update(dict.fromkeys(ended))
            while len(self._ended) > _REMEMBERED:
                self._ended.popitem(last=False)
            woken = [waiter for each in ended for waiter in self._waiters.get(each, ())]
        _wake(woken)

    def _start_ticking(self) -> None:
        loop = asyncio.get_running_loop()
        if self._ticking is None or self._ticking.done() or self._ticking.get_loop() is not loop:
            self._ticking = loop.create_task(self._tick())

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_TICK_SECONDS_WITH_RINGS if wakeups.hears_other_processes() else _TICK_SECONDS)
            with self._lock:
                ids = list(self._waiters)
            if not ids:
                return
            self._remember(await loop.run_in_executor(self._executor, partial(self._found_ended, ids)))

    def _found_ended(self, ids: list[uuid.UUID]) -> list[uuid.UUID]:
        try:
            return queries.finished(ids)
        except DatabaseError as error:
            logger.warning("could not look for ended generations: %s", error)
            return []
        finally:
            connection.close()


def _wake(waiters: Iterable[_Waiter]) -> None:
    """One call for each event loop, however many wait there."""
    by_loop: dict[asyncio.AbstractEventLoop, list[asyncio.Event]] = defaultdict(list)
    for loop, event in waiters:
        by_loop[loop].append(event)
    for loop, events in by_loop.items():
        try:
            loop.call_soon_threadsafe(_set_all, events)
        except RuntimeError:
            logger.debug("the waiters' loop is closed")


def _set_all(events: Iterable[asyncio.Event]) -> None:
    for event in events:
        event.set()


WATCHER = Watcher()
