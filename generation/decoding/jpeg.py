"""Walks the markers of a JPEG from start to end without decoding it: its shape, its scans, and that it has an end.

Markers are those of ITU-T T.81, table B.1. A decoder alone would fill missing rows with grey and say nothing.
"""

from __future__ import annotations

import os
import re
from typing import BinaryIO

from generation.decoding.verdict import Undecodable, require_sane

WINDOW = 64 * 1024
# A progressive picture of the usual encoders has about ten scans. Each one passes over the whole picture, so a few
# megabytes holding a hundred thousand scans would keep a decoder busy for hours.
MAX_SCANS = 64

_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")
_START, _END, _SCAN, _ALONE = 0xD8, 0xD9, 0xDA, 0x01
_NOT_FRAMES = (0xC4, 0xC8, 0xCC)


def check(file: BinaryIO) -> tuple[int, int]:
    """Width and height of a JPEG that ends with its end marker. Raises `Undecodable`.

    What follows the end (a second picture, a depth map) is not looked at.
    """
    if file.read(2) != b"\xff\xd8":
        raise Undecodable("The JPEG does not begin with its start marker.")
    shape: tuple[int, int] | None = None
    scan_count = 0
    while (marker := _next_marker(file)) != _END:
        segment_bytes = _segment_bytes(file, marker)
        if 0xC0 <= marker <= 0xCF and marker not in _NOT_FRAMES and shape is None:
            shape = _shape(file.read(segment_bytes))
        else:
            file.seek(segment_bytes, os.SEEK_CUR)
        scan_count += marker == _SCAN
        if scan_count > MAX_SCANS:
            raise Undecodable("The JPEG has too many scans.")
    if shape is None or scan_count == 0:
        raise Undecodable("The JPEG holds no picture.")
    return shape


def _segment_bytes(file: BinaryIO, marker: int) -> int:
    if marker == _ALONE:
        return 0
    length = int.from_bytes(file.read(2))
    if marker == _START or length < 2:
        raise Undecodable("The JPEG is damaged between two segments.")
    return length - 2


def _shape(frame: bytes) -> tuple[int, int]:
    if len(frame) < 6:
        raise Undecodable("The JPEG ends too early.")
    height, width = int.from_bytes(frame[1:3]), int.from_bytes(frame[3:5])
    require_sane(width, height)
    return width, height


def _next_marker(file: BinaryIO) -> int:
    carry = b""
    while piece := file.read(WINDOW):
        window = carry + piece
        if match := _MARKER.search(window):
            file.seek(match.end() - len(window), os.SEEK_CUR)
            return match[1][0]
        carry = b"\xff" if window.endswith(b"\xff") else b""
    raise Undecodable("The JPEG ends too early.")
