"""Pixel sizes, as other APIs ask for them, as a ratio and a size of ours."""

from __future__ import annotations

import re

RATIOS = ("1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9")
_PIXELS = re.compile(r"([1-9][0-9]{1,4})x([1-9][0-9]{1,4})")
# Longest side up to which a picture of that size is what was meant.
_LONGEST = (("1K", 1536), ("2K", 2816), ("4K", 6400))
# 1024x1792 of DALL-E 3 is 9:16, and 2000x1000 is no ratio of ours.
_TOLERANCE = 0.06


def of_pixels(size: str) -> tuple[str, str]:
    """Ratio and size of "WxH". Raises ValueError with words for the caller."""
    match = _PIXELS.fullmatch(size)
    if match is None:
        raise ValueError("A size is WIDTHxHEIGHT in pixels, such as 1024x1024, or auto.")
    width, height = int(match[1]), int(match[2])
    wanted = width / height
    ratio = min(RATIOS, key=lambda each: abs(_value(each) / wanted - 1))
    if abs(_value(ratio) / wanted - 1) > _TOLERANCE:
        raise ValueError(f"{size} is near none of the ratios {', '.join(RATIOS)}.")
    image_size = next((name for name, longest in _LONGEST if max(width, height) <= longest), "")
    if not image_size:
        raise ValueError(f"{size} is larger than 4K.")
    return ratio, image_size


def agreed(size: str, ratio: str | None, image_size: str | None) -> tuple[str, str]:
    """Ratio and size of pixels, where others were named, too. Raises ValueError if these contradict them."""
    size_ratio, size_name = of_pixels(size)
    if (ratio or size_ratio) != size_ratio or (image_size or size_name) != size_name:
        raise ValueError(f"{size} contradicts the ratio or size that is named beside it.")
    return size_ratio, size_name


def _value(ratio: str) -> float:
    width, _, height = ratio.partition(":")
    return int(width) / int(height)
