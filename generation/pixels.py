"""Pixels of the ratios and sizes of the Gemini image models. Pure Python."""

from __future__ import annotations

# The 1K sizes of the Gemini image models, as their image generation guide lists them. The guide names no pixels for
# the four long ratios in every edition, so these keep the ratio exactly and the area of the other 1K sizes.
_SIZES_1K: dict[str, tuple[int, int]] = {
    "1:1": (1024, 1024),
    "2:3": (832, 1248),
    "3:2": (1248, 832),
    "3:4": (864, 1184),
    "4:3": (1184, 864),
    "4:5": (896, 1152),
    "5:4": (1152, 896),
    "9:16": (768, 1344),
    "16:9": (1344, 768),
    "21:9": (1536, 672),
    "1:4": (512, 2048),
    "4:1": (2048, 512),
    "1:8": (352, 2816),
    "8:1": (2816, 352),
}
_SCALES = {"512": 0.5, "1K": 1.0, "2K": 2.0, "4K": 4.0}


def pixel_size(aspect_ratio: str, image_size: str) -> tuple[int, int]:
    """Width and height in pixels of a ratio ("16:9") at a size ("512", "1K", "2K", "4K").

    Raises ValueError for a ratio or size no Gemini image model has.
    """
    if aspect_ratio not in _SIZES_1K or image_size not in _SCALES:
        raise ValueError(f"no pixel size for aspect ratio {aspect_ratio!r} at image size {image_size!r}")
    width, height = _SIZES_1K[aspect_ratio]
    scale = _SCALES[image_size]
    return int(width * scale), int(height * scale)
