"""Pixels of a ratio and a size for models that are told width and height. Pure Python."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

_RATIO = re.compile(r"([1-9][0-9]{0,3}):([1-9][0-9]{0,3})")
# Pixels that a picture has at most. Billing counts begun megapixels of 1024 x 1024, and four of them are the end.
_AREAS = {"512": 512**2, "1K": 1024**2, "2K": 2048**2, "4K": 2048**2}
# How much more a per cent off the ratio weighs than a per cent fewer pixels.
_RATIO_WEIGHT = 10


@dataclass(frozen=True, slots=True)
class Frame:
    """What a model takes: edges that are multiples of `step`, from `shortest` to `longest`, in pixels."""

    step: int
    shortest: int
    longest: int


@cache
def pixel_size(aspect_ratio: str, image_size: str, frame: Frame) -> tuple[int, int]:
    """Width and height nearest to a ratio ("16:9") that fill a size ("512", "1K", "2K", "4K") and do not exceed it.

    A ratio that the frame is too narrow for comes as near as can be. Raises ValueError for what is no ratio or size.
    """
    match = _RATIO.fullmatch(aspect_ratio)
    if match is None or image_size not in _AREAS:
        raise ValueError(f"no pixel size for aspect ratio {aspect_ratio!r} at image size {image_size!r}")
    across, down = int(match[1]), int(match[2])
    if across < down:
        height, width = pixel_size(f"{down}:{across}", image_size, frame)
        return width, height
    area, ratio = _AREAS[image_size], across / down

    def distance(size: tuple[int, int]) -> float:
        width, height = size
        return _RATIO_WEIGHT * abs(math.log(width / height / ratio)) - width * height / area

    return min((size for size in _sizes(ratio, frame) if size[0] * size[1] <= area), key=distance)


def _sizes(ratio: float, frame: Frame) -> Iterator[tuple[int, int]]:
    """For each width the two heights around the ratio, or the frame's edge where they lie outside."""
    for width in range(frame.shortest, frame.longest + 1, frame.step):
        below = int(width / ratio / frame.step) * frame.step
        for height in (below, below + frame.step):
            yield width, min(max(height, frame.shortest), frame.longest)
