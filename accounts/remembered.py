"""Answers that are remembered for a moment: rows that everybody reads and the operator changes now and then."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
_MAX_ENTRIES = 1000


class Remembered(Generic[K, V]):
    """`look` answers a key; the answer holds for `seconds()`, in this process. Nobody may change what it answers."""

    def __init__(self, look: Callable[[K], V], *, seconds: Callable[[], float]) -> None:
        self._look = look
        self._seconds = seconds
        self._kept: dict[K, tuple[float, V]] = {}

    def get(self, key: K) -> V:
        kept = self._kept.get(key)
        if kept is not None and kept[0] > time.monotonic():
            return kept[1]
        value = self._look(key)
        seconds = self._seconds()
        if seconds > 0:
            if len(self._kept) >= _MAX_ENTRIES:
                # Names that strangers make up must not fill the memory.
                self._kept.clear()
            self._kept[key] = (time.monotonic() + seconds, value)
        return value

    def forget(self) -> None:
        """Look anew from now on."""
        self._kept.clear()
