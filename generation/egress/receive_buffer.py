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


def _extracted(buffer: Any, count: int) -> bytes | bytearray:
    buffer._next_line_search = buffer._multiple_lines_search = 0
    whole: bytes | bytearray = buffer._data
    if count >= len(whole):
        buffer._data = bytearray()
        return whole
    if not isinstance(buffer._data, bytearray):
        buffer._data = bytearray(buffer._data)
    first: bytearray = buffer._data[:count]
    del buffer._data[:count]
    return first


def _extracted_at_most(buffer: Any, count: int) -> bytes | bytearray | None:
    return _extracted(buffer, count) if buffer._data and count else None


def spare_copies() -> None:
    """For every connection of this process, from now on."""
    ReceiveBuffer.__iadd__ = _with  # type: ignore[assignment, method-assign]
    ReceiveBuffer._extract = _extracted  # type: ignore[assignment, method-assign]
    ReceiveBuffer.maybe_extract_at_most = _extracted_at_most  # type: ignore[assignment, method-assign]
