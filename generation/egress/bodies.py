"""What happens to the body of an upstream's answer on its way in: decoded, capped, poured into a sink, never gathered.

Here is the sink for what is no JSON; `lifting` has the one for what is.
"""

from __future__ import annotations

import asyncio
import tempfile
import zlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import IO, Any, Protocol

import httpx2

from accounts import crash_points

PIECE_BYTES = 256 * 1024


class BodyTooLarge(httpx2.TransportError):
    """The answer's body, or the part of it that `what` names, is larger than the cap; the connection was given up."""

    def __init__(self, byte_cap: int, what: str = "the answer") -> None:
        super().__init__(f"{what} is larger than {byte_cap} bytes")
        self.byte_cap = byte_cap


class BodySink(Protocol):
    """Takes a decoded body piece by piece. Either `finish` or `discard` is called, once, at its end."""

    def write(self, piece: bytes) -> None:
        """Take the next piece. Raises BodyTooLarge, or OSError where the disk is full."""

    def finish(self) -> tuple[httpx2.AsyncByteStream, int]:
        """The body is complete: what the client shall read, and its length in bytes."""

    def discard(self) -> None:
        """The body is not wanted any more; leave nothing behind."""


class FileSink:
    """A sink that keeps the body in a file without a name."""

    def __init__(self, byte_cap: int, directory: Path | None) -> None:
        self._byte_cap = byte_cap
        self._byte_count = 0
        self._file: IO[bytes] = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115

    def write(self, piece: bytes) -> None:
        self._byte_count += len(piece)
        if self._byte_count > self._byte_cap:
            raise BodyTooLarge(self._byte_cap)
        self._file.write(piece)

    def finish(self) -> tuple[httpx2.AsyncByteStream, int]:
        self._file.seek(0)
        return _FileStream(self._file), self._byte_count

    def discard(self) -> None:
        self._file.close()


class _FileStream(httpx2.AsyncByteStream):
    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while piece := self._file.read(PIECE_BYTES):
            yield piece

    async def aclose(self) -> None:
        self._file.close()


class Decoder(Protocol):
    """Undoes a content encoding. Raises httpx2.DecodingError for a stream that is broken or breaks off."""

    def decode(self, chunk: bytes) -> Iterator[bytes]: ...

    def finish(self) -> None: ...


class _Identity:
    def decode(self, chunk: bytes) -> Iterator[bytes]:
        yield chunk

    def finish(self) -> None:
        return


class _Inflate:
    """gzip and deflate in bounded pieces. Unlike the HTTP client's own decoders it notices a stream that breaks off."""

    def __init__(self, *, is_gzip: bool) -> None:
        self._is_gzip = is_gzip
        self._head = b""
        self._inflater: Any = None

    def decode(self, chunk: bytes) -> Iterator[bytes]:
        if self._inflater is None:
            chunk = self._head = self._head + chunk
            if len(chunk) < 2:
                return
            self._inflater = zlib.decompressobj(self._window_bits())
        try:
            yield from self._inflate(chunk)
        except zlib.error as error:
            raise httpx2.DecodingError(f"the compressed answer is broken: {error}") from error

    def _inflate(self, chunk: bytes) -> Iterator[bytes]:
        is_full = False
        # After a full piece more may wait inside the inflater although it has taken all of the input.
        while chunk or is_full:
            if chunk and self._inflater.eof:
                self._start_next_member()
            piece = self._inflater.decompress(chunk, PIECE_BYTES)
            is_full = len(piece) == PIECE_BYTES
            chunk = self._inflater.unconsumed_tail or self._inflater.unused_data
            yield piece

    def _window_bits(self) -> int:
        """Servers send "deflate" with a zlib header (RFC 9110, 8.4.1.2) and, wrongly, without one."""
        if self._is_gzip:
            return zlib.MAX_WBITS | 16
        has_zlib_header = self._head[0] & 0x0F == 8 and int.from_bytes(self._head[:2], "big") % 31 == 0
        return zlib.MAX_WBITS if has_zlib_header else -zlib.MAX_WBITS

    def _start_next_member(self) -> None:
        """A gzip stream may have several members (RFC 1952, 2.2)."""
        if not self._is_gzip:
            raise httpx2.DecodingError("bytes follow the end of the compressed answer")
        self._inflater = zlib.decompressobj(zlib.MAX_WBITS | 16)

    def finish(self) -> None:
        is_whole = self._inflater is not None and self._inflater.eof
        if not is_whole:
            raise httpx2.DecodingError("the compressed answer breaks off")


def decoder_for(headers: httpx2.Headers) -> Decoder:
    """The decoder of a body with these headers. Raises httpx2.DecodingError for an encoding we do not speak."""
    encoding = headers.get("content-encoding", "").strip().lower()
    if encoding in ("", "identity"):
        return _Identity()
    if encoding in ("gzip", "x-gzip", "deflate"):
        return _Inflate(is_gzip=encoding != "deflate")
    raise httpx2.DecodingError(f"the answer comes in an encoding nobody asked for: {encoding[:40]}")


async def pour(chunks: AsyncIterator[bytes], decoder: Decoder, sink: BodySink, byte_cap: int) -> None:
    """Put a whole body into the sink. Raises BodyTooLarge, httpx2.DecodingError and what `chunks` raises."""
    wire_byte_count = 0
    async for chunk in chunks:
        # The bytes on the wire count too, since an endless compressed stream can decode to nothing.
        wire_byte_count += len(chunk)
        if wire_byte_count > byte_cap:
            raise BodyTooLarge(byte_cap)
        for piece in decoder.decode(chunk):
            sink.write(piece)
            if len(piece) == PIECE_BYTES:
                # A few compressed bytes can unfold to a thousand such pieces: other calls get their turn in between.
                await asyncio.sleep(0)
        crash_points.reached("call.answering")
    decoder.finish()
