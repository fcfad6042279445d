"""Takes in an image a stranger sent: checked before it is unfolded, then drawn anew so that only the picture is kept.

Metadata (EXIF, GPS, XMP, comments, profiles) and bytes behind the picture never pass through here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO

from PIL import Image, JpegImagePlugin

from generation.decoding import jpeg, pillow, png, webp
from generation.decoding.verdict import MIME_TYPES, Decoded, Kind, Undecodable, kind_of

MAX_BYTES = 20 * 1024 * 1024
MAX_PIXELS = 40_000_000
MAX_EDGE = 8192

_INCOMPLETE = "The reference is not a complete PNG, JPEG or WebP image."
_QUALITY = 95


@dataclass(frozen=True, slots=True)
class CleanImage:
    """A reference drawn anew: upright, sRGB, without metadata. Edges in pixels."""

    data: bytes
    mime_type: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class _Sketch:
    """What a reference's own head says, with everything but its pixels proved."""

    kind: Kind
    width: int
    height: int
    is_lossless: bool


def inspect_reference(data: bytes, *, byte_cap: int = MAX_BYTES) -> Decoded:
    """The shape of a reference as sent, not yet turned upright. Raises `Undecodable` with a sentence for its sender.

    At most 20 MB, 40 megapixels and 8192 pixels along an edge; one picture; every byte of it there. `byte_cap` may be
    raised for an image that was made here, since a 4K PNG may be larger than what a stranger may send.
    """
    with pillow.slot(), _plain_spoken():
        sketch = _sketch(data, byte_cap)
        with pillow.opened(BytesIO(data), sketch.kind) as image:
            _load(image, sketch)
        return Decoded(MIME_TYPES[sketch.kind], sketch.width, sketch.height, len(data))


def take_in(data: bytes, *, byte_cap: int = MAX_BYTES) -> CleanImage:
    """`inspect_reference`, and the picture encoded again: JPEG, PNG and lossy WebP as they were, lossless WebP as PNG.

    The result may be larger than what was sent. Takes up to a few seconds and a gigabyte for 40 megapixels, and blocks
    while other pictures are being decoded: for a stranger's image call `take_in_apart`.
    """
    with pillow.slot(), _plain_spoken():
        sketch = _sketch(data, byte_cap)
        with pillow.opened(BytesIO(data), sketch.kind) as image:
            _load(image, sketch)
            sampling = max(0, JpegImagePlugin.get_sampling(image))
            picture = pillow.redrawn(pillow.plain(pillow.upright(image)))
        kind, clean = _encoded(picture, "PNG" if sketch.is_lossless else sketch.kind, sampling)
        return CleanImage(clean, MIME_TYPES[kind], picture.width, picture.height)


@contextmanager
def _plain_spoken() -> Iterator[None]:
    try:
        yield
    except _Refused:
        raise
    except Undecodable as error:
        raise Undecodable(_INCOMPLETE) from error


class _Refused(Undecodable):
    """A reason that already speaks to the sender."""


def refused_for_size(byte_cap: int) -> Undecodable:
    """What to say to a sender of too many bytes."""
    return _Refused(f"The reference is larger than {byte_cap // 2**20} MB.")


def _sketch(data: bytes, byte_cap: int) -> _Sketch:
    if len(data) > byte_cap:
        raise refused_for_size(byte_cap)
    kind = kind_of(data[:16])
    if kind == "PNG":
        return _png_sketch(data)
    if kind == "JPEG":
        sketch = _Sketch("JPEG", *jpeg.check(BytesIO(data)), is_lossless=False)
    else:
        header = webp.check(BytesIO(data))
        _require_still(header.is_animated)
        sketch = _Sketch("WEBP", header.width, header.height, header.is_lossless)
    _require_size(sketch.width, sketch.height)
    return sketch


def _png_sketch(data: bytes) -> _Sketch:
    # The limits come before the rows, so that a bomb is refused by its header.
    header, steps = png.scanlines(BytesIO(data))
    _require_size(header.width, header.height)
    png.exhaust(steps)
    return _Sketch("PNG", header.width, header.height, is_lossless=True)


def _require_size(width: int, height: int) -> None:
    if max(width, height) > MAX_EDGE:
        raise _Refused("An edge of the reference is longer than 8192 pixels.")
    if width * height > MAX_PIXELS:
        raise _Refused("The reference is larger than 40 megapixels.")


def _require_still(is_animated: bool) -> None:
    if is_animated:
        raise _Refused("The reference is animated. Send a single picture.")


def _load(image: Image.Image, sketch: _Sketch) -> None:
    if image.size != (sketch.width, sketch.height):
        raise Undecodable("The picture has two different sizes.")
    # Cameras put a second picture (a depth or gain map) behind the first one of a JPEG; that is no animation.
    _require_still(sketch.kind != "JPEG" and getattr(image, "n_frames", 1) > 1)
    image.load()


def _encoded(picture: Image.Image, kind: Kind, sampling: int) -> tuple[Kind, bytes]:
    if kind == "JPEG":
        return kind, _saved(picture, "JPEG", quality=_QUALITY, subsampling=sampling)
    if kind == "WEBP":
        try:
            return kind, _saved(picture, "WEBP", quality=_QUALITY, method=2)
        except ValueError:
            # The format itself cannot hold some very large, very detailed pictures (its first partition overflows).
            return _encoded(picture, "PNG", sampling)
    return kind, _saved(picture, "PNG", compress_level=3)


def _saved(picture: Image.Image, kind: Kind, **options: int) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()
