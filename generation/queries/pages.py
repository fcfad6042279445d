"""A slice of a list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Page:
    """A slice of a list, newest first. `next_cursor` is empty on the last page."""

    data: Sequence[Any]
    next_cursor: str
