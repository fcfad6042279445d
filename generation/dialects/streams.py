"""Stored images on their way out: as they are, or as base64 in the midst of JSON. Lengths are known beforehand.

Of an image no more than a piece or two is ever in memory, and that one is gone is said before the first byte leaves.
"""

from __future__ import annotations

import io
import os
import re
import secrets
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence

from django.core.files.base import File
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse

from generation import media
from generation.contract import OutputOutcome, Refusal
from generation.dialects import door
from generation.media import StoredFile

try:
    from pybase64 import b64encode
except ImportError:
    from base64 import b64encode  # type: ignore[assignment]

_PLAIN_STEP = 1024 * 1024
# A multiple of three, so that the pieces' base64, joined, is the base64 of the whole.
_BASE64_STEP = 288 * 1024
# Light enough to be read in one go: the pieces of a stream cost more than they spare.
_LIGHT_BYTES = 512 * 1024

Encode = Callable[[bytes | bytearray], bytes]


class Gone(Refusal):
    """A stored file is not there, or not whole."""

    def __init__(self) -> None:
        super().__init__("gone", "image_gone", "The stored image is no longer there.")


def base64_length(byte_count: int) -> int:
    """How many characters so many bytes are in base64, padding included."""
    return (byte_count + 2) // 3 * 4


async def check(files: Iterable[StoredFile]) -> None:
    """Raise Gone if one of the files is not there with all its bytes."""
    wanted = list(files)
    if not await door.in_file_thread(all, map(media.is_whole, wanted)):
        raise Gone


class Splice:
    """A JSON document in which texts stand for the base64 of stored files until it is sent.

    `place` answers the text to put into the document. The texts are random for each splice, so that nothing a customer
    wrote can be one of them.
    """

    def __init__(self) -> None:
        self._mark = f"base64:{secrets.token_hex(16)}:"
        self.files: list[StoredFile] = []

    def place(self, file: StoredFile) -> str:
        self.files.append(file)
        return f"{self._mark}{len(self.files) - 1}:"

    def cut(self, document: bytes) -> list[bytes | StoredFile]:
        """The document in order: its own bytes, and the files between them."""
        pieces = re.split(self._mark.encode() + rb"(\d+):", document)
        return [self.files[int(piece)] if place % 2 else piece for place, piece in enumerate(pieces)]


def base64_of(splice: Splice, files: Mapping[str, StoredFile]) -> Callable[[OutputOutcome], str]:
    """Says the text that stands for an output's image; `files` are a reading's."""
    return lambda output: splice.place(files[output.id])


def length(segments: Sequence[bytes | StoredFile]) -> int:
    """The bytes of a cut document as it will be sent."""
    return sum(base64_length(each.byte_count) if isinstance(each, StoredFile) else len(each) for each in segments)


async def stream(segments: Sequence[bytes | StoredFile]) -> AsyncIterator[bytes]:
    """A cut document as it is sent, the files as base64."""
    for each in segments:
        if isinstance(each, StoredFile):
            async for piece in _pieces(each, _BASE64_STEP, b64encode):
                yield piece
        elif each:
            yield each


async def answer(
    request: HttpRequest, document: bytes, splice: Splice, *, status: int = 200, content_type: str = "application/json"
) -> HttpResponseBase:
    """The document with the base64 of its files, streamed. Raises Gone before anything is sent."""
    if not splice.files:
        return HttpResponse(document, status=status, content_type=content_type)
    segments = splice.cut(document)
    if request.method != "HEAD" and length(segments) <= _LIGHT_BYTES:
        whole = await door.in_file_thread(_whole, segments)
        return HttpResponse(whole, status=status, content_type=content_type, headers={"Content-Length": len(whole)})
    await check(splice.files)
    if request.method == "HEAD":
        response: HttpResponseBase = HttpResponse(status=status, content_type=content_type)
    else:
        response = StreamingHttpResponse(stream(segments), status=status, content_type=content_type)
    response["Content-Length"] = str(length(segments))
    return response


def _whole(segments: Sequence[bytes | StoredFile]) -> bytes:
    """A cut document as it is sent, in one piece. Raises Gone."""
    if not all(media.is_whole(each) for each in segments if isinstance(each, StoredFile)):
        raise Gone
    return b"".join(_encoded(each) if isinstance(each, StoredFile) else each for each in segments)


def _encoded(file: StoredFile) -> bytes:
    source = _Source(file.name)
    try:
        return source.read(file.byte_count, b64encode)
    finally:
        source.close()


def download(file: StoredFile) -> StreamingHttpResponse:
    """A file as an answer of its own, streamed."""
    response = StreamingHttpResponse(plain(file), content_type="application/octet-stream")
    response["Content-Length"] = str(file.byte_count)
    return response


async def plain(file: StoredFile) -> AsyncIterator[bytes]:
    """The bytes of a file as they are."""
    async for piece in _pieces(file, _PLAIN_STEP, bytes):
        yield piece


async def _pieces(file: StoredFile, step: int, encode: Encode) -> AsyncIterator[bytes]:
    """Read and encoded in the door's file threads where it cannot be had at once: a storage may be slow, and the event
    loop must not wait for it."""
    source, left = _Source(file.name), file.byte_count
    try:
        while left:
            wanted = min(step, left)
            yield source.read_at_once(wanted, encode) or await door.in_file_thread(source.read, wanted, encode)
            left -= wanted
            if left:
                # The server waits here for the client to take what went before, and no next piece waits with it.
                yield b""
    finally:
        door.behind_files(source.close)


class _Source:
    """A stored file that is opened when it is first read. It may be closed while a thread still reads."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._file: File[bytes] | None = None
        self._is_closed = False
        self._lock = threading.Lock()

    def read(self, count: int, encode: Encode) -> bytes:
        """Exactly so many bytes, encoded. Raises OSError if the file ends before."""
        with self._lock:
            if self._is_closed:
                return b""
            if self._file is None:
                self._file = media.opened(self._name)
            return encode(_exactly(self._file, count))

    def read_at_once(self, count: int, encode: Encode) -> bytes:
        """The same of an open file whose next bytes are in memory; else nothing, without a wait."""
        if not self._lock.acquire(blocking=False):
            return b""
        try:
            if self._file is None or self._is_closed:
                return b""
            return encode(_cached(self._file, count))
        finally:
            self._lock.release()

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            if self._file is not None:
                self._file.close()


def _cached(file: File[bytes], count: int) -> bytes | bytearray:
    """The next bytes of a local file, if the system holds all of them in memory."""
    if not isinstance(file.file, io.BufferedReader) or not hasattr(os, "RWF_NOWAIT"):
        return b""
    piece = bytearray(count)
    try:
        read_count = os.preadv(file.fileno(), [piece], file.tell(), os.RWF_NOWAIT)
    except OSError:
        # They are not in memory, or the file system cannot say.
        return b""
    if read_count < count:
        return b""
    file.seek(count, os.SEEK_CUR)
    return piece


def _exactly(file: File[bytes], count: int) -> bytes:
    piece: bytes = file.read(count)
    while len(piece) < count:
        more = file.read(count - len(piece))
        if not more:
            raise OSError(f"{file.name} ends early")
        piece += more
    return piece
