"""Names for the shape of a picture: the nearest aspect ratio, the size class. Pure arithmetic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

SizeClass = Literal["1K", "2K", "4K"]

# Halfway between the nominal edges of two neighbours: 1024, 2048, 4096.
_BELOW_2K, _BELOW_4K = 1536, 3072


def nearest_ratio(width: int, height: int, ratios: Sequence[str]) -> str:
    """The one of `ratios` ("16:9") closest to width : height; too wide and too tall by one factor count the same.

    The earlier of two equally near ones wins. Raises ValueError for an empty sequence or an edge below 1.
    """
    if width < 1 or height < 1:
        raise ValueError("A picture has at least one pixel.")

    def distance(ratio: str) -> float:
        across, _, down = ratio.partition(":")
        return abs(math.log(width * int(down) / (height * int(across))))

    return min(ratios, key=distance)


def size_class(width: int, height: int) -> SizeClass:
    """1K, 2K or 4K by the edge of a square of the same area."""
    area = width * height
    if area < _BELOW_2K**2:
        return "1K"
    return "2K" if area < _BELOW_4K**2 else "4K"
