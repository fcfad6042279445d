"""Reads that are waited for at the same time are done together, so that a thousand ends at once are a few statements.

Nobody who waits holds a thread; the reads of all share one.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from generation import queries
from generation.dialects import door

K = TypeVar("K")
R = TypeVar("R")
_Answer = tuple["asyncio.Future[Any]", Any]


class BatchedReader(Generic[K, R]):
    """`read_many` takes keys and answers a value for each that exists.

    The first who asks starts a read at once. Who asks while it runs is served by the next one, up to `max_batch` keys.
    """

    def __init__(self, read_many: Callable[[Sequence[K]], Mapping[K, R]], *, max_batch: int = 64) -> None:
        self._read_many = read_many
        self._max_batch = max_batch
        self._waiting: list[tuple[K, asyncio.Future[R]]] = []
        self._is_led = False
        self._lock = threading.Lock()

    async def read(self, key: K) -> R:
        """The value as it is now. Raises LookupError where there is none, or what the read raised."""
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        with self._lock:
            self._waiting.append((key, future))
            leads, self._is_led = not self._is_led, True
        if leads:
            door.behind(self._lead)
        return await future

    def _lead(self) -> None:
        while batch := self._next():
            _deliver(self._answers(batch))

    def _next(self) -> list[tuple[K, asyncio.Future[R]]]:
        with self._lock:
            batch = self._waiting[: self._max_batch]
            del self._waiting[: self._max_batch]
            self._is_led = bool(batch)
            return batch

    def _answers(self, batch: Sequence[tuple[K, asyncio.Future[R]]]) -> list[_Answer]:
        try:
            found = self._read_many(list(dict.fromkeys(key for key, _ in batch)))
        except Exception as error:  # noqa: BLE001
            return [(future, error) for _, future in batch]
        return [(future, found[key] if key in found else LookupError(key)) for key, future in batch]


def _deliver(answers: Iterable[_Answer]) -> None:
    by_loop: dict[asyncio.AbstractEventLoop, list[_Answer]] = defaultdict(list)
    for future, value in answers:
        by_loop[future.get_loop()].append((future, value))
    for loop, some in by_loop.items():
        # A loop that is closed has nobody left who waits.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_settle, some)


def _settle(answers: Iterable[_Answer]) -> None:
    for future, value in answers:
        if future.done():
            continue
        if isinstance(value, Exception):
            future.set_exception(value)
        else:
            future.set_result(value)


READINGS: BatchedReader[uuid.UUID, queries.Reading] = BatchedReader(queries.readings)
PROGRESS: BatchedReader[uuid.UUID, tuple[str, int, int]] = BatchedReader(queries.progress)
