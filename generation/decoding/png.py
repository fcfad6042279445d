"""Reads a PNG as a stream, complete and checked, a few hundred kilobytes at a time. It never unfolds the picture.

The rules are those of the W3C's PNG specification, third edition (https://www.w3.org/TR/png-3/).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from generation.decoding.verdict import Undecodable, require_sane

try:
    from isal import isal_zlib as inflating
except ImportError:
    import zlib as inflating  # type: ignore[no-redef]

# The faster library has an error of its own.
_ERRORS: Any = (zlib.error, inflating.error)
SIGNATURE = b"\x89PNG\r\n\x1a\n"
STEP = 256 * 1024
PIECE = 256 * 1024
MAX_CHUNK_BYTES = 2**31 - 1
HIGHEST_FILTER = 4
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
BIT_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
INDEXED = 3
WITHOUT_PALETTE = (0, 4)
# First column, first row, step across, step down of the seven passes of Adam7.
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


@dataclass(frozen=True, slots=True)
class Header:
    """What IHDR says, already checked."""

    width: int
    height: int
    bit_depth: int
    color_type: int
    is_interlaced: bool

    def stride(self, width: int) -> int:
        """Bytes of one scanline of `width` pixels, its filter byte included."""
        return 1 + (width * CHANNELS[self.color_type] * self.bit_depth + 7) // 8

    def passes(self) -> Iterator[tuple[int, int]]:
        """(stride, row count) of each pass that has pixels, in the order they are written."""
        if not self.is_interlaced:
            yield self.stride(self.width), self.height
            return
        for left, top, across, down in ADAM7:
            columns = -((left - self.width) // across)
            rows = -((top - self.height) // down)
            if columns > 0 and rows > 0:
                yield self.stride(columns), rows


class _Chunks:
    """The chunks one after another, each with its checksum proved by the time the next one is asked for."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._left = 0
        self._checksum = 0
        self.length = 0
        if self._exactly(len(SIGNATURE)) != SIGNATURE:
            raise Undecodable("The PNG's signature is wrong.")

    def __iter__(self) -> Iterator[bytes]:
        kind = b""
        while kind != b"IEND":
            kind = self._open()
            yield kind
            for _ in self.pieces():
                pass
            if int.from_bytes(self._exactly(4)) != self._checksum:
                raise Undecodable("A checksum of the PNG is wrong.")

    def pieces(self) -> Iterator[bytes]:
        """What is left of the current chunk's data, in pieces."""
        while self._left:
            piece = self._exactly(min(self._left, PIECE))
            self._left -= len(piece)
            self._checksum = inflating.crc32(piece, self._checksum)
            yield piece

    def _open(self) -> bytes:
        head = self._exactly(8)
        kind = head[4:]
        self.length = self._left = int.from_bytes(head[:4])
        self._checksum = inflating.crc32(kind)
        if self.length > MAX_CHUNK_BYTES or not (kind.isascii() and kind.isalpha()):
            raise Undecodable("The PNG is damaged between two chunks.")
        return kind

    def _exactly(self, count: int) -> bytes:
        data = self._file.read(count)
        if len(data) != count:
            raise Undecodable("The PNG ends too early.")
        return data


class _Order:
    """Which chunk may follow which. Ancillary chunks may stand anywhere but between two IDATs."""

    def __init__(self, header: Header) -> None:
        self._header = header
        self._seen: set[bytes] = set()
        self._previous = b"IHDR"

    def admit(self, kind: bytes, length: int) -> None:
        is_critical = not kind[0] & 0x20
        if is_critical and not self._fits(kind, length):
            raise Undecodable("The PNG's chunks are not in order.")
        self._seen.add(kind)
        self._previous = kind

    def _fits(self, kind: bytes, length: int) -> bool:
        if kind == b"PLTE":
            return self._palette_fits(length)
        if kind == b"IDAT":
            has_colors = self._header.color_type != INDEXED or b"PLTE" in self._seen
            return has_colors and (b"IDAT" not in self._seen or self._previous == b"IDAT")
        return kind == b"IEND" and b"IDAT" in self._seen and length == 0

    def _palette_fits(self, length: int) -> bool:
        most = 2**self._header.bit_depth if self._header.color_type == INDEXED else 256
        is_early = not self._seen & {b"PLTE", b"IDAT"}
        is_whole = length % 3 == 0 and 3 <= length <= 3 * most
        return is_early and is_whole and self._header.color_type not in WITHOUT_PALETTE


class _Rows:
    """Counts the inflated bytes against what the header promises, and looks at every filter byte."""

    def __init__(self, header: Header) -> None:
        self._passes = header.passes()
        self._stride = 1
        self._position = self._end = 0
        self._is_over = False
        self._turn()

    def count(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            if self._is_over:
                raise Undecodable("The PNG holds more rows than its header promises.")
            taken = min(len(data) - at, self._end - self._position)
            filters = data[at + -self._position % self._stride : at + taken : self._stride]
            if filters and max(filters) > HIGHEST_FILTER:
                raise Undecodable("A row of the PNG is damaged.")
            at += taken
            self._position += taken
            if self._position == self._end:
                self._turn()

    def finish(self) -> None:
        if not self._is_over:
            raise Undecodable("The PNG lacks rows.")

    def _turn(self) -> None:
        stride, rows = next(self._passes, (1, 0))
        self._stride, self._position, self._end = stride, 0, stride * rows
        self._is_over = rows == 0


def _inflated(inflater: Any, piece: bytes) -> Iterator[bytes]:
    # A full step may leave bytes inside zlib although all input is taken, so only a short step means "feed me".
    data = piece
    step = b"\0" * STEP
    while len(step) == STEP and not inflater.eof:
        try:
            step = inflater.decompress(data, STEP)
        except _ERRORS as error:
            raise Undecodable("The PNG's picture data is damaged.") from error
        data = inflater.unconsumed_tail
        yield step


def _header(chunks: _Chunks, kind: bytes) -> Header:
    if kind != b"IHDR" or chunks.length != 13:
        raise Undecodable("The PNG does not begin with its header.")
    data = b"".join(chunks.pieces())
    width, height = int.from_bytes(data[:4]), int.from_bytes(data[4:8])
    bit_depth, color_type, compression, filtering, interlacing = data[8:]
    if bit_depth not in BIT_DEPTHS.get(color_type, ()) or compression or filtering or interlacing > 1:
        raise Undecodable("The PNG's header makes no sense.")
    require_sane(width, height)
    return Header(width, height, bit_depth, color_type, bool(interlacing))


def scanlines(file: BinaryIO) -> tuple[Header, Iterator[bytes]]:
    """The header, and the filtered scanlines in pieces of at most `STEP` bytes.

    The file counts as complete once the pieces are exhausted; until then, and while reading the header, anything
    missing, damaged or too long raises `Undecodable`. Bytes behind IEND are ignored, as by every decoder.
    """
    chunks = _Chunks(file)
    kinds = iter(chunks)
    header = _header(chunks, next(kinds))
    return header, _scanlines(header, chunks, kinds)


def _scanlines(header: Header, chunks: _Chunks, kinds: Iterator[bytes]) -> Iterator[bytes]:
    order, rows, inflater = _Order(header), _Rows(header), inflating.decompressobj()
    for kind in kinds:
        order.admit(kind, chunks.length)
        for piece in chunks.pieces() if kind == b"IDAT" else ():
            for step in _inflated(inflater, piece):
                rows.count(step)
                yield step
    rows.finish()
    if not inflater.eof:
        raise Undecodable("The PNG's picture data has no end.")


def check(file: BinaryIO) -> Header:
    """Read a PNG to its end. Raises `Undecodable`; needs well under 2 MB whatever the picture's size."""
    header, steps = scanlines(file)
    exhaust(steps)
    return header


def exhaust(steps: Iterator[bytes]) -> None:
    """Read what `scanlines` gave to its end, for the sake of its checks."""
    for _ in steps:
        pass
