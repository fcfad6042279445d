"""Makers of test images: small, deterministic, cached per process. Each returns the bytes of a file."""

from __future__ import annotations

import random
import struct
import zlib
from functools import cache
from io import BytesIO
from typing import Any

from PIL import Image

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# A place in an EXIF block that must never come out again.
CAMERA = "Secretcam 3000"
_ORIENTATION, _MAKE, _GPS = 0x0112, 0x010F, 0x8825


@cache
def picture(width: int = 320, height: int = 200, mode: str = "RGB") -> Image.Image:
    """A picture with gradients, soft blobs and fine noise, so that it compresses about as a photo does.

    Do not change it: it is shared.
    """
    source = random.Random(f"{width}x{height}")
    blobs = Image.frombytes("RGB", (8, 8), source.randbytes(192)).resize((width, height), Image.Resampling.BICUBIC)
    tile = Image.frombytes("RGB", (64, 64), source.randbytes(64 * 64 * 3))
    noise = Image.new("RGB", (width, height))
    for left in range(0, width, 64):
        for top in range(0, height, 64):
            noise.paste(tile, (left, top))
    photo = Image.blend(blobs, noise, 0.08)
    if mode in ("RGBA", "LA"):
        photo = photo.convert(mode)
        photo.putalpha(Image.linear_gradient("L").resize((width, height)))
        return photo
    return photo.convert(mode)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def exif(orientation: int = 6) -> Image.Exif:
    """An EXIF block with a camera's name, a place on earth and an orientation."""
    block = Image.Exif()
    block[_ORIENTATION] = orientation
    block[_MAKE] = CAMERA
    block[_GPS] = {1: "N", 2: (52.0, 31.0, 12.0), 3: "E", 4: (13.0, 24.0, 18.0)}
    return block


@cache
def jpeg(width: int = 320, height: int = 200, *, orientation: int = 6, progressive: bool = False) -> bytes:
    """A photo with EXIF and GPS; by default a camera held upright (orientation 6: width and height swap)."""
    return encoded(
        picture(width, height), "JPEG", quality=85, exif=exif(orientation), progressive=progressive, comment=CAMERA
    )


@cache
def png(width: int = 320, height: int = 200, mode: str = "RGB") -> bytes:
    return encoded(picture(width, height, mode), "PNG", compress_level=1)


@cache
def webp(width: int = 320, height: int = 200, *, lossless: bool = False) -> bytes:
    return encoded(picture(width, height), "WEBP", quality=80, lossless=lossless)


@cache
def webp_with_exif() -> bytes:
    return encoded(picture(), "WEBP", quality=80, exif=exif())


@cache
def png_4k() -> bytes:
    """4096 x 4096 pixels, 48 MB once unfolded."""
    return png(4096, 4096)


@cache
def jpeg_4k() -> bytes:
    return jpeg(4096, 4096, orientation=1)


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    """One PNG chunk with its right length and checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def ihdr(width: int, height: int, depth: int = 8, color: int = 2, interlace: int = 0, **odd: int) -> bytes:
    fields = (width, height, depth, color, odd.get("compression", 0), odd.get("filtering", 0), interlace)
    return chunk(b"IHDR", struct.pack(">IIBBBBB", *fields))


def png_of(*chunks: bytes) -> bytes:
    return PNG_SIGNATURE + b"".join(chunks)


def plain_png(width: int = 4, height: int = 3, rows: bytes | None = None, *, depth: int = 8, color: int = 2) -> bytes:
    """A PNG written by hand: `rows` are its filtered scanlines (default: all black)."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color]
    stride = 1 + (width * channels * depth + 7) // 8
    data = bytes(stride * height) if rows is None else rows
    palette = [chunk(b"PLTE", bytes(range(6)))] if color == 3 else []
    picture_data = chunk(b"IDAT", zlib.compress(data))
    return png_of(ihdr(width, height, depth, color), *palette, picture_data, chunk(b"IEND"))


@cache
def interlaced_png(width: int, height: int, depth: int = 8, color: int = 2) -> bytes:
    """An Adam7 PNG of noise. Written by hand because Pillow cannot write one; Pillow reads it."""
    source = random.Random(width * 1000 + height)
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color]
    rows = b""
    for left, top, across, down in ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
                                    (0, 1, 1, 2)):  # fmt: skip
        columns = len(range(left, width, across))
        for row in range(len(range(top, height, down)) if columns else 0):
            rows += bytes([row % 5]) + source.randbytes((columns * channels * depth + 7) // 8)
    palette = [chunk(b"PLTE", bytes(range(6)))] if color == 3 else []
    head = ihdr(width, height, depth, color, interlace=1)
    return png_of(head, *palette, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND"))


@cache
def bomb_png(width: int = 9000, height: int = 9000) -> bytes:
    """A few kilobytes that would unfold to width x height pixels (81 megapixels: 10 KB, indexed, one bit deep)."""
    deflater = zlib.compressobj(9)
    row = bytes(1 + (width + 7) // 8)
    data = b"".join(deflater.compress(row) for _ in range(height)) + deflater.flush()
    return png_of(ihdr(width, height, 1, 3), chunk(b"PLTE", bytes(6)), chunk(b"IDAT", data), chunk(b"IEND"))


@cache
def overlong_png() -> bytes:
    """A tiny header before 64 MB of rows, in some 60 KB."""
    return png_of(ihdr(4, 4), chunk(b"IDAT", zlib.compress(bytes(64 * 1024 * 1024), 9)), chunk(b"IEND"))


@cache
def animated_webp() -> bytes:
    frames = [picture(64, 64), picture(64, 64).transpose(Image.Transpose.ROTATE_90)]
    return encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], duration=100)


@cache
def animated_png() -> bytes:
    frames = [picture(64, 64), picture(64, 64).transpose(Image.Transpose.ROTATE_90)]
    return encoded(frames[0], "PNG", save_all=True, append_images=frames[1:], duration=100)


@cache
def two_picture_jpeg() -> bytes:
    """A JPEG with a second one behind it, as phones write (MPO)."""
    return encoded(picture(), "MPO", save_all=True, append_images=[picture(64, 64)])


@cache
def scan_bomb_jpeg(scan_count: int = 2000) -> bytes:
    """A progressive JPEG whose last scan is repeated: each one costs a decoder a pass over the picture."""
    whole = encoded(picture(64, 64), "JPEG", progressive=True)
    last_scan = whole[whole.rindex(b"\xff\xda") : -2]
    return whole[:-2] + last_scan * scan_count + b"\xff\xd9"


HTML_TAIL = b"<html><script>alert(document.domain)</script></html>"


def polyglot(image: bytes) -> bytes:
    """An image that is also a web page to whoever looks for one."""
    return image + HTML_TAIL


def with_text_chunk(data: bytes, text: bytes = CAMERA.encode()) -> bytes:
    """A PNG with a text chunk behind its header."""
    return data[:33] + chunk(b"tEXt", b"Comment\0" + text) + data[33:]


@cache
def gif() -> bytes:
    return encoded(picture(16, 16, "P"), "GIF")


SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10"><script>alert(1)</script></svg>'
