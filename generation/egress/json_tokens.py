"""Cuts a JSON text that comes in pieces into its long strings and the rest; it must never judge or change the text.

It looks for quotes and backslashes only. A text that is no JSON is cut somewhere, and shows as broken to whoever parses
what was put together again.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator

import httpx2

LONG_STRING_BYTES = 32 * 1024

# What is an escape at the end of a piece but may go on in the next one. Escaped backslashes are masked before.
_OPEN_ESCAPE = re.compile(rb"\\(?:u[0-9A-Fa-f]{0,3})?\Z")
_LONGEST_OPEN_ESCAPE = len(rb"\u123")


class Kind(enum.Enum):
    """What a token is: text outside long strings, a piece of a long string without its quotes, or the end of one."""

    REST = enum.auto()
    STRING = enum.auto()
    STRING_END = enum.auto()


Token = tuple[Kind, bytes]


class LongStrings:
    """Takes a JSON text piece by piece and yields its tokens in order.

    A string is long when there are at least `long_bytes` bytes between its quotes, as they were sent. The first piece
    of a long string has at least that many bytes, and no piece ends inside an escape. At most `long_bytes` and a few
    bytes more are held back from one piece to the next.
    """

    def __init__(self, long_bytes: int = LONG_STRING_BYTES) -> None:
        self._long_run = re.compile(rb'"[^"]{%d,}' % long_bytes)
        self._is_inside = False
        self._held = b""

    def feed(self, piece: bytes) -> Iterator[Token]:
        """The tokens that are certain by now. Must be read to its end."""
        text = self._held + piece if self._held else piece
        if self._is_inside and _is_plain(text):
            # Most of an image. There is no need to look for escapes in it.
            self._held = b""
            yield Kind.STRING, text
        else:
            yield from self._cut(text)

    def _cut(self, text: bytes) -> Iterator[Token]:
        masked = _masked(text)
        end = len(text) - _open_escape_length(masked)
        position, self._held = 0, b""
        while position < end:
            if self._is_inside:
                quote = masked.find(b'"', position, end)
                stop = quote if quote >= 0 else end
            else:
                quote = self._long_string(masked, position, end)
                stop = quote if quote >= 0 else _start_of_open_string(masked, position, end)
            if stop > position:
                yield Kind.STRING if self._is_inside else Kind.REST, text[position:stop]
            if quote < 0:
                end = stop
                break
            if self._is_inside:
                yield Kind.STRING_END, b""
            self._is_inside = not self._is_inside
            position = quote + 1
        self._held = text[end:]

    def finish(self) -> None:
        """The text has ended. Raises httpx2.DecodingError where that cannot be the end of a JSON text."""
        if self._is_inside or self._held:
            raise httpx2.DecodingError("the JSON answer breaks off inside a string")

    def _long_string(self, masked: bytes, start: int, end: int) -> int:
        """Where the next long string opens, or -1. `start` lies outside of strings."""
        position = start
        while run := self._long_run.search(masked, position, end):
            is_opening = masked.count(b'"', start, run.start()) % 2 == 0
            if is_opening:
                return run.start()
            position = run.end()
        return -1


def _is_plain(text: bytes) -> bool:
    """Whether what begins inside a string neither ends it nor breaks off inside an escape."""
    return b'"' not in text and b"\\" not in text[-_LONGEST_OPEN_ESCAPE:]


def _start_of_open_string(masked: bytes, start: int, end: int) -> int:
    """Where a short string opens that does not close before `end`; `end` if there is none."""
    is_open = masked.count(b'"', start, end) % 2 == 1
    return masked.rfind(b'"', start, end) if is_open else end


def _masked(text: bytes) -> bytes:
    """The text with its escaped backslashes and quotes painted over, so that every quote left is a string's border.

    Replacing goes from left to right without overlaps, which is how escapes are read.
    """
    first = text.find(b"\\")
    if first < 0:
        return text
    # An image beside a few escapes is not worth the slow look at every byte.
    end = text.rfind(b"\\") + 2
    painted = text[first:end].replace(rb"\\", b"__").replace(rb"\"", b"__")
    return b"".join((text[:first], painted, text[end:]))


def _open_escape_length(masked: bytes) -> int:
    tail = masked[-_LONGEST_OPEN_ESCAPE:]
    escape = _OPEN_ESCAPE.search(tail) if b"\\" in tail else None
    return len(tail) - escape.start() if escape else 0
