"""Work of many threads done in one go: what comes while a group is being worked off forms the next group.

Alone, a thread works at once and waits for nobody. Under load the leader of a group lingers for some milliseconds, so
that the price of a transaction (its round trips, its commit) is shared by more. One whose part makes the group fail
never fails the others: each is then done by itself.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from django.db import InterfaceError, OperationalError, connection

T = TypeVar("T")
R = TypeVar("R")


_LINGER_SECONDS = 0.01
# Who comes within this time of the one before may be one of many. To linger in vain is tried again only after a while,
# and each time after a longer one: a client that asks again as soon as it is answered is no crowd.
_CLOSE_SECONDS = 0.03
_TRY_AGAIN_SECONDS = 0.3
_MAX_TRY_AGAIN_SECONDS = 10.0


class _Place(Generic[T, R]):
    """One thread's item, and what became of it."""

    __slots__ = ("awake", "error", "is_done", "item", "result")

    def __init__(self, item: T) -> None:
        self.item = item
        self.awake = threading.Event()
        self.is_done = False
        self.error: BaseException | None = None
        self.result: R | None = None

    def outcome(self) -> R:
        if self.error is not None:
            raise self.error
        return self.result  # type: ignore[return-value]


class GroupCommit(Generic[T, R]):
    """`work` takes items and answers a result for each, in order; it writes all of them in one transaction or none.

    `do` returns the item's result, or raises what `work` raised for it.
    """

    def __init__(self, work: Callable[[Sequence[T]], Sequence[R]], *, max_size: int = 64) -> None:
        self._work = work
        self._max_size = max_size
        self._waiting: list[_Place[T, R]] = []
        self._is_led = False
        self._is_busy = False
        self._led_at = 0.0
        self._alone_at = 0.0
        self._try_again_seconds = _TRY_AGAIN_SECONDS
        self._mutex = threading.Lock()

    def do(self, item: T) -> R:
        place: _Place[T, R] = _Place(item)
        with self._mutex:
            self._waiting.append(place)
            follows, self._is_led = self._is_led, True
        if follows:
            _let_go_of_the_connection()
            # Woken either because the work is done, or to lead the next group.
            place.awake.wait()
        if not place.is_done:
            self._lead()
        return place.outcome()

    def _lead(self) -> None:
        lingers = self._is_worth_lingering(time.monotonic())
        if lingers:
            time.sleep(_LINGER_SECONDS)
        with self._mutex:
            group = self._waiting[: self._max_size]
            del self._waiting[: self._max_size]
        self._learn(len(group) > 1, lingers, time.monotonic())
        try:
            self._work_off(group)
        finally:
            self._hand_over()
            for place in group:
                place.is_done = True
                place.awake.set()

    def _is_worth_lingering(self, now: float) -> bool:
        is_close = now - self._led_at < _CLOSE_SECONDS and now - self._alone_at > self._try_again_seconds
        return self._is_busy or is_close

    def _learn(self, has_company: bool, has_lingered: bool, now: float) -> None:
        if has_company:
            self._try_again_seconds = _TRY_AGAIN_SECONDS
        elif has_lingered:
            self._alone_at = now
            self._try_again_seconds = min(2 * self._try_again_seconds, _MAX_TRY_AGAIN_SECONDS)
        self._is_busy, self._led_at = has_company, now

    def _hand_over(self) -> None:
        with self._mutex:
            self._is_led = bool(self._waiting)
            if self._waiting:
                self._waiting[0].awake.set()

    def _work_off(self, group: list[_Place[T, R]]) -> None:
        try:
            self._work_together(group)
        except BaseException as error:
            if _may_be_one_of(error) and len(group) > 1:
                self._work_one_by_one(group)
                return
            for place in group:
                place.error = error
            if not isinstance(error, Exception):
                raise

    def _work_together(self, group: list[_Place[T, R]]) -> None:
        results = self._work([place.item for place in group])
        for place, result in zip(group, results, strict=True):
            place.result = result

    def _work_one_by_one(self, group: list[_Place[T, R]]) -> None:
        for place in group:
            try:
                self._work_together([place])
            except Exception as error:  # noqa: BLE001
                place.error = error


def _let_go_of_the_connection() -> None:
    """Who waits for the leader must not have in hand what the leader may be waiting for: the last of the pool."""
    if connection.vendor != "sqlite" and not connection.in_atomic_block:
        connection.close()


def _may_be_one_of(error: BaseException) -> bool:
    """Whether one item alone may be to blame; a database that is away is everybody's trouble."""
    return isinstance(error, Exception) and not isinstance(error, OperationalError | InterfaceError | OSError)
