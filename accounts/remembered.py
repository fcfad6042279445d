"""Answers that are remembered for a moment: rows that everybody reads and the operator changes now and then."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
_MAX_ENTRIES = 1000


class _Kept(Generic[V]):
    """An answer, until when it holds, and whether somebody looks anew."""

    __slots__ = ("looking", "until", "value")

    def __init__(self, value: V, until: float) -> None:
        self.value = value
        self.until = until
        self.looking = threading.Lock()


class Remembered(Generic[K, V]):
    """`look` answers a key; the answer holds for `seconds()`, in this process. Nobody may change what it answers.

    When it no longer holds, one thread looks anew. The others go by the old answer while it does, at most for as long
    as that held: a thousand that looked at once would want a thousand connections.
    """

    def __init__(self, look: Callable[[K], V], *, seconds: Callable[[], float]) -> None:
        self._look = look
        self._seconds = seconds
        self._answers: dict[K, _Kept[V]] = {}

    def get(self, key: K) -> V:
        # What is looked up while somebody has it forgotten is put where nobody finds it.
        answers = self._answers
        kept = answers.get(key)
        if kept is None:
            return self._found(key, answers)
        now = time.monotonic()
        if now < kept.until:
            return kept.value
        if not kept.looking.acquire(blocking=False):
            return kept.value if now < kept.until + self._seconds() else self._found(key, answers)
        try:
            return self._found(key, answers)
        finally:
            kept.looking.release()

    def _found(self, key: K, answers: dict[K, _Kept[V]]) -> V:
        value = self._look(key)
        seconds = self._seconds()
        if seconds > 0:
            if len(answers) >= _MAX_ENTRIES:
                # Names that strangers make up must not fill the memory.
                answers.clear()
            answers[key] = _Kept(value, time.monotonic() + seconds)
        return value

    def forget(self) -> None:
        """Look anew from now on."""
        self._answers = {}
