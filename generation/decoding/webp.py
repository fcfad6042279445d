"""Reads the head of a WebP: canvas, animation, declared length. It never decodes, so that no canvas is made unasked.

The container is that of RFC 9649, sections 2.3 to 2.7.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import BinaryIO

from generation.decoding.verdict import Undecodable, require_sane

_ANIMATION_FLAG = 0x02
_LOSSY_START = b"\x9d\x01\x2a"
_LOSSLESS_START = 0x2F


@dataclass(frozen=True, slots=True)
class Header:
    """The canvas in pixels. `is_lossless` is only known for the simple lossless container."""

    width: int
    height: int
    is_animated: bool
    is_lossless: bool


def check(file: BinaryIO) -> Header:
    """The header of a WebP whose bytes are all there. Raises `Undecodable`."""
    head = file.read(30)
    byte_count = file.seek(0, os.SEEK_END)
    if len(head) < 30 or 8 + int.from_bytes(head[4:8], "little") > byte_count:
        raise Undecodable("The WebP ends too early.")
    header = _header(head)
    require_sane(header.width, header.height)
    return header


def _header(head: bytes) -> Header:
    fourcc = head[12:16]
    if fourcc == b"VP8X":
        width, height = (1 + int.from_bytes(head[at : at + 3], "little") for at in (24, 27))
        return Header(width, height, bool(head[20] & _ANIMATION_FLAG), is_lossless=False)
    if fourcc == b"VP8L" and head[20] == _LOSSLESS_START:
        bits = int.from_bytes(head[21:25], "little")
        return Header((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, is_animated=False, is_lossless=True)
    if fourcc == b"VP8 " and head[23:26] == _LOSSY_START:
        width, height = (int.from_bytes(head[at : at + 2], "little") & 0x3FFF for at in (26, 28))
        return Header(width, height, is_animated=False, is_lossless=False)
    raise Undecodable("The WebP holds no picture.")
