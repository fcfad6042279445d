"""Lets the body of an answer pass through h11, which httpcore2 reads HTTP/1.1 with, without being copied.

h11's buffer appends what was received to a bytearray, cuts a body's part off it as a copy, and moves what is left. A
large piece that finds the buffer empty is kept here as it came, and handed over as it is where all of it is wanted.
"""

from __future__ import annotations

from typing import Any

from h11._receivebuffer import ReceiveBuffer

# What is smaller may be a head, and is kept as h11 does.
_LARGE_BYTES = 32 * 1024


def _with(buffer: Any, data: bytes) -> Any:
    if buffer._data:
        buffer._data += data
    else:
        buffer._data = data if len(data) >= _LARGE_BYTES else bytearray(data)
    return buffer


def _extracted(buffer: Any, count: int) -> bytearray:
    buffer._next_line_search = buffer._multiple_lines_search = 0
    # Lines are cut and changed where they lie.
    if not isinstance(buffer._data, bytearray):
        buffer._data = bytearray(buffer._data)
    first: bytearray = buffer._data[:count]
    del buffer._data[:count]
    return first


def _extracted_at_most(buffer: Any, count: int) -> bytes | bytearray | None:
    if not buffer._data or not count:
        return None
    if count < len(buffer._data):
        return _extracted(buffer, count)
    buffer._next_line_search = buffer._multiple_lines_search = 0
    whole: bytes | bytearray = buffer._data
    buffer._data = bytearray()
    return whole


def spare_copies() -> None:
    """For every connection of this process, from now on."""
    ReceiveBuffer.__iadd__ = _with  # type: ignore[assignment, method-assign]
    ReceiveBuffer._extract = _extracted  # type: ignore[assignment, method-assign]
    ReceiveBuffer.maybe_extract_at_most = _extracted_at_most  # type: ignore[assignment, method-assign]
