"""The one place where Pillow is opened, a few pictures at a time and never for a format that was not asked for.

Pillow's guards are switches of the whole process (`warnings.catch_warnings` is not safe between threads), so they
are set here once; the real limits are checked on each file's header before Pillow sees it.
"""

from __future__ import annotations

import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import BinaryIO

from PIL import Image, ImageCms, ImageFile

from generation.decoding.verdict import MAX_OUTPUT_PIXELS, Kind, Undecodable

ImageFile.LOAD_TRUNCATED_IMAGES = False
Image.MAX_IMAGE_PIXELS = MAX_OUTPUT_PIXELS
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)
# Remarks on broken metadata, which is thrown away anyway; a stranger must not fill the log with them.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

_SLOTS = threading.BoundedSemaphore(2)
_FAILURES = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    ArithmeticError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@contextmanager
def slot() -> Iterator[None]:
    """Wait for one of the two places where pictures are unfolded. Blocks: never enter it on an event loop."""
    with _SLOTS:
        yield


@contextmanager
def opened(file: BinaryIO, kind: Kind) -> Iterator[ImageFile.ImageFile]:
    """The picture, opened as `kind` only. Whatever Pillow makes of a bad file leaves here as `Undecodable`."""
    try:
        file.seek(0)
        with Image.open(file, formats=(kind,)) as image:
            yield image
    except _FAILURES as error:
        # An error with a number came from the disk: it says nothing about the picture.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise Undecodable(f"The {kind} does not decode.") from error


def upright(image: Image.Image) -> Image.Image:
    """The picture turned as its EXIF orientation says; unreadable EXIF says nothing."""
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except _FAILURES:
        return image
    turn = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def plain(image: Image.Image) -> Image.Image:
    """The picture as L, LA, RGB or RGBA in sRGB, so that it looks the same once its color profile is gone."""
    if image.mode in ("I;16", "I;16B", "I"):
        # Pillow's own conversion would cut every value above 255 instead of scaling it.
        return image.point(lambda value: value * (1 / 256)).convert("L")
    image = _in_srgb(image)
    if image.has_transparency_data:
        return image if image.mode in ("LA", "RGBA") else image.convert("RGBA")
    if image.mode in ("L", "RGB"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def redrawn(image: Image.Image) -> Image.Image:
    """The same pixels on a new picture that never carried metadata."""
    fresh = Image.new(image.mode, image.size)
    fresh.paste(image)
    return fresh


def _in_srgb(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    if not isinstance(profile, bytes) or image.mode not in ("RGB", "RGBA", "CMYK"):
        return image
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        if "sRGB" in ImageCms.getProfileDescription(source):
            return image
        target = "RGBA" if image.mode == "RGBA" else "RGB"
        return ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode=target) or image
    except (ImageCms.PyCMSError, *_FAILURES):
        return image
