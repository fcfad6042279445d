"""Small previews of stored images, re-encoded and stripped. A usual PNG is shrunk in strips, never unfolded whole."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from generation.decoding import jpeg, pillow, png, webp
from generation.decoding.verdict import Kind, kind_of, require_unfoldable

_STRIP_BYTES = 512 * 1024
_MODES = {0: "L", 2: "RGB", 4: "LA", 6: "RGBA"}
_QUALITY = 80


def thumbnail(path: Path, max_edge: int) -> bytes:
    """A WebP of at most `max_edge` pixels along its longer edge, upright, without metadata, never enlarged.

    Raises `Undecodable`, also for the rare picture (over 40 megapixels and interlaced, indexed, 16 bits deep or WebP)
    that could only be shrunk by unfolding it whole. Blocks while other pictures are being decoded.
    """
    if max_edge < 1:
        raise ValueError("A preview has at least one pixel.")
    with path.open("rb") as file, pillow.slot():
        picture = _shrunk(file, kind_of(file.read(16)), max_edge)
        buffer = BytesIO()
        picture.save(buffer, "WEBP", quality=_QUALITY, method=2)
        return buffer.getvalue()


def _shrunk(file: BinaryIO, kind: Kind, max_edge: int) -> Image.Image:
    file.seek(0)
    if kind == "PNG":
        header, steps = png.scanlines(file)
        if header.color_type in _MODES and header.bit_depth == 8 and not header.is_interlaced:
            return _assembled(header, steps, max_edge)
        png.exhaust(steps)
        return _unfolded(file, kind, header.width, header.height, max_edge)
    if kind == "WEBP":
        canvas = webp.check(file)
        return _unfolded(file, kind, canvas.width, canvas.height, max_edge)
    width, height = jpeg.check(file)
    scale = max(1, max(width, height) // (2 * max_edge))
    with pillow.opened(file, kind) as image:
        image.draft(None, (max(1, width // scale), max(1, height // scale)))
        require_unfoldable(*image.size)
        return _tidy(image, max_edge)


def _unfolded(file: BinaryIO, kind: Kind, width: int, height: int, max_edge: int) -> Image.Image:
    require_unfoldable(width, height)
    with pillow.opened(file, kind) as image:
        return _tidy(image, max_edge)


def _tidy(image: Image.Image, max_edge: int) -> Image.Image:
    image.load()
    picture = pillow.plain(pillow.upright(image))
    picture.thumbnail((max_edge, max_edge))
    return pillow.redrawn(picture)


def _assembled(header: png.Header, steps: Iterator[bytes], max_edge: int) -> Image.Image:
    factor = -(-max(header.width, header.height) // (2 * max_edge))
    width, height = -(-header.width // factor), -(-header.height // factor)
    require_unfoldable(width, height)
    fresh = Image.new(_MODES[header.color_type], (width, height))
    top = 0
    for strip in _strips(header, steps, factor):
        small = strip.reduce(factor)
        fresh.paste(small, (0, top))
        top += small.height
    # The reduced edges are rounded up; the box is what the picture really covers of them.
    shape = _fitted(header.width, header.height, max_edge)
    return fresh.resize(shape, Image.Resampling.BICUBIC, (0, 0, header.width / factor, header.height / factor))


def _fitted(width: int, height: int, max_edge: int) -> tuple[int, int]:
    scale = min(1.0, max_edge / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _strips(header: png.Header, steps: Iterator[bytes], factor: int) -> Iterator[Image.Image]:
    """The picture in strips, each (but the last) a multiple of `factor` rows high."""
    stride = header.stride(header.width)
    strip_bytes = stride * factor * max(1, _STRIP_BYTES // (stride * factor))
    above = bytes(stride - 1)
    rows = bytearray()
    for step in steps:
        rows += step
        while len(rows) >= strip_bytes:
            strip, above = _strip(header, above, bytes(rows[:strip_bytes]))
            del rows[:strip_bytes]
            yield strip
    if rows:
        yield _strip(header, above, bytes(rows))[0]


def _strip(header: png.Header, above: bytes, rows: bytes) -> tuple[Image.Image, bytes]:
    """Unfilter some rows; `above` is the plain row before them, which their filters may refer to."""
    # Pillow's PNG decoder undoes the filters at C speed but wants a zlib stream from the first row on: it gets the
    # row above once more, unfiltered, and the stream is stored without being compressed.
    mode = _MODES[header.color_type]
    height = len(rows) // header.stride(header.width)
    stream = zlib.compress(b"\0" + above + rows, 0)
    strip = Image.frombytes(mode, (header.width, height + 1), stream, "zip", mode)
    last = strip.crop((0, height, header.width, height + 1)).tobytes()
    return strip.crop((0, 1, header.width, height + 1)), last
