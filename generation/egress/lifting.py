"""Lifts long base64 strings out of a JSON answer into files while it comes; all else it says must stay as it was.

In the place of a lifted string stands its marker, which is short, random and base64 itself. Of a string that holds a
data URL (RFC 2397), and perhaps words around it, only the base64 is lifted.
"""

from __future__ import annotations

import hashlib
import io
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx2

from generation.egress.base64_text import Base64Text, NotBase64
from generation.egress.bodies import BodySink, BodyTooLarge, FileSink
from generation.egress.json_tokens import LONG_STRING_BYTES, Kind, LongStrings

REST_BYTE_CAP = 4 * 1024 * 1024
# An object, a list, a string, or the first byte of a byte order mark.
_JSON_STARTS = (b"{", b"[", b'"', b"\xef")
_LONGEST_BLANK_BYTES = 4096
# Where the base64 of a data URL begins, as it stands in a JSON string, and a run of its characters.
_DATA_URL = re.compile(rb"data:[A-Za-z0-9.+;=_-]{0,60}(?:\\?/[A-Za-z0-9.+;=_-]{0,60})?;base64,", re.IGNORECASE)
_BASE64_RUN = re.compile(rb"(?:[A-Za-z0-9+/=_-]+|\\/)*")


@dataclass(frozen=True, slots=True)
class Lifted:
    """A lifted string: a file with its decoded bytes that only the owner can read, their count and SHA-256 in hex."""

    path: Path
    byte_count: int
    sha256: str
    base64: Base64Text

    def read(self) -> bytes:
        """The decoded bytes."""
        return self.path.read_bytes()

    def text(self) -> str:
        """The string as it came."""
        return self.base64.text_of(self.read()).decode("ascii")


# Takes note of a lifted string and gives back its marker, as base64.
Register = Callable[[Lifted], bytes]


class _Draft:
    """A string on its way into a file. Whatever it raises, `discard` leaves no file behind."""

    def __init__(self, base64: Base64Text, directory: Path | None) -> None:
        self._base64 = base64
        self._byte_count = 0
        self._digest = hashlib.sha256()
        # Nobody else can open it, whatever the umask: that is how mkstemp makes files.
        descriptor, path = tempfile.mkstemp(suffix=".lifted", dir=directory)
        self._file = io.FileIO(descriptor, "wb")
        self._path = Path(path)

    def write(self, data: bytes) -> None:
        """Raises OSError where the disk is full."""
        self._byte_count += len(data)
        self._digest.update(data)
        left = memoryview(data)
        while left:
            left = left[self._file.write(left) :]

    def take(self, text: bytes) -> None:
        """The next piece of the string. Raises NotBase64, with nothing of the piece taken."""
        for decoded in self._base64.feed(text):
            self.write(decoded)

    def finish(self) -> Lifted:
        """The string has ended. Raises NotBase64."""
        self.write(self._base64.finish())
        self._file.close()
        return Lifted(self._path, self._byte_count, self._digest.hexdigest(), self._base64)

    def text_byte_count(self) -> int:
        """About how long the text taken so far is."""
        return self._byte_count * 4 // 3

    def text(self) -> bytes:
        """The text taken so far, without JSON escapes."""
        return self._base64.text_of(self._path.read_bytes())

    def discard(self) -> None:
        try:
            self._file.close()
        finally:
            self._path.unlink(missing_ok=True)


class LiftingSink:
    """A sink for JSON: long base64 strings go to files in `directory`, all the rest stays in memory.

    A long string that turns out not to be base64 stays where it was, even when that shows only at its last byte. A
    data URL within a string is found in its first `long_bytes`.
    `byte_cap` limits the body and so the files too; what stays in memory is limited to 4 MB. Strings shorter than
    `long_bytes` are left alone. Raises BodyTooLarge, OSError, and httpx2.DecodingError for a body that ends inside a
    string.
    """

    def __init__(
        self, byte_cap: int, directory: Path | None, register: Register, *, long_bytes: int = LONG_STRING_BYTES
    ) -> None:
        self._byte_cap = byte_cap
        self._byte_count = 0
        self._directory = directory
        self._register = register
        self._tokens = LongStrings(long_bytes)
        self._rest = bytearray()
        self._draft: _Draft | None = None
        self._is_embedded = False
        self._is_staying = False

    def write(self, piece: bytes) -> None:
        self._byte_count += len(piece)
        if self._byte_count > self._byte_cap:
            raise BodyTooLarge(self._byte_cap)
        for kind, text in self._tokens.feed(piece):
            if kind is Kind.STRING_END:
                self._end_string()
            elif kind is Kind.STRING and not self._is_staying:
                self._lift(text)
            else:
                self._keep(text)

    def finish(self) -> tuple[httpx2.AsyncByteStream, int]:
        self._tokens.finish()
        return httpx2.ByteStream(bytes(self._rest)), len(self._rest)

    def discard(self) -> None:
        draft, self._draft = self._draft, None
        if draft is not None:
            draft.discard()

    def _lift(self, text: bytes) -> None:
        if self._draft is None:
            text = self._begin(text)
        run = _BASE64_RUN.match(text) if self._is_embedded else None
        border = run.end() if run else len(text)
        try:
            self._take(text[:border])
        except NotBase64:
            self._put_back(text)
            return
        if border < len(text):
            self._end_draft()
            self._is_staying = True
            self._keep(text[border:])

    def _begin(self, text: bytes) -> bytes:
        """A long string opens. What of its first piece may be base64."""
        # Base64 has no comma, and to look for one takes no time.
        url = _DATA_URL.search(text) if b"," in text else None
        self._is_embedded = url is not None
        if url is None:
            return text
        self._keep(b'"' + text[: url.end()])
        return text[url.end() :]

    def _take(self, text: bytes) -> None:
        if self._draft is not None:
            self._draft.take(text)
            return
        base64 = Base64Text()
        # Before there is a file, since most long strings that are no base64 show it at once.
        decoded = base64.feed(text)
        self._draft = _Draft(base64, self._directory)
        for part in decoded:
            self._draft.write(part)

    def _put_back(self, text: bytes) -> None:
        """The string stays in its place after all: what was lifted of it, and then `text`."""
        self._is_staying = True
        if not self._is_embedded:
            self._keep(b'"')
        if self._draft is not None:
            self._require_room(self._draft.text_byte_count())
            self._keep(self._draft.text())
            self.discard()
        self._keep(text)

    def _end_draft(self) -> None:
        if self._draft is None:
            return
        try:
            lifted = self._draft.finish()
        except NotBase64:
            self._put_back(b"")
            return
        self._draft = None
        self._keep((b"" if self._is_embedded else b'"') + self._register(lifted))

    def _end_string(self) -> None:
        self._end_draft()
        self._is_staying = self._is_embedded = False
        self._keep(b'"')

    def _keep(self, text: bytes) -> None:
        self._require_room(len(text))
        self._rest += text

    def _require_room(self, byte_count: int) -> None:
        if len(self._rest) + byte_count > REST_BYTE_CAP:
            raise BodyTooLarge(REST_BYTE_CAP, "the answer without its images")


class AnswerSink:
    """A sink that lifts strings from what begins like JSON, and keeps everything else in a file as it comes."""

    def __init__(self, byte_cap: int, directory: Path | None, register: Register) -> None:
        self._byte_cap = byte_cap
        self._directory = directory
        self._register = register
        self._blank = b""
        self._sink: BodySink | None = None

    def write(self, piece: bytes) -> None:
        if self._sink is not None:
            self._sink.write(piece)
            return
        self._blank += piece
        start = self._blank.lstrip()
        if start or len(self._blank) > _LONGEST_BLANK_BYTES:
            self._choose(is_json=start.startswith(_JSON_STARTS))

    def finish(self) -> tuple[httpx2.AsyncByteStream, int]:
        return (self._sink or self._choose(is_json=False)).finish()

    def discard(self) -> None:
        if self._sink is not None:
            self._sink.discard()

    def _choose(self, *, is_json: bool) -> BodySink:
        sink = LiftingSink(self._byte_cap, self._directory, self._register) if is_json else None
        self._sink = sink or FileSink(self._byte_cap, self._directory)
        piece, self._blank = self._blank, b""
        self._sink.write(piece)
        return self._sink
