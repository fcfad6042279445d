"""Decodes base64 that comes in pieces, as strictly as the upstreams' SDKs do; it must never guess at broken text."""

from __future__ import annotations

import json
import string
from typing import NamedTuple

try:
    from pybase64 import b64decode, b64encode
except ImportError:
    from base64 import b64decode, b64encode  # type: ignore[assignment]

_CHARACTERS = string.ascii_letters.encode() + string.digits.encode() + b"+/-_="
_TO_STANDARD = bytes.maketrans(b"-_", b"+/")
_TO_URL_SAFE = bytes.maketrans(b"+/", b"-_")


class NotBase64(ValueError):
    """The text is no base64, or no canonical one. Nothing of the piece at fault was taken."""


class Base64Text:
    """One base64 text, fed in pieces as they stand between the quotes of a JSON string.

    Either alphabet of RFC 4648 is taken, but not both in one text. Padding may be whole, short or missing; the unused
    bits of the last character must be zero. These are the rules by which pydantic decodes `bytes` from JSON.
    """

    def __init__(self) -> None:
        self._is_standard = False
        self._is_url_safe = False
        self._padding = b""
        # One to four characters, as soon as there are any: the last four of the text may be padding.
        self._undecoded = b""

    def feed(self, piece: bytes) -> list[bytes]:
        """The bytes that are certain by now, in parts: those of a large piece are not copied to join a few others.

        The piece must not end inside a JSON escape. Raises NotBase64.
        """
        characters = _unescaped(piece)
        missing = -len(self._undecoded) % 4
        if len(characters) <= missing:
            _require_base64(characters)
            self._undecoded += characters
            return []
        begun = self._undecoded + characters[:missing]
        border = missing + (len(characters) - missing - 1) // 4 * 4
        _require_base64(characters[border:])
        runs = _Run(begun, 0, len(begun)), _Run(characters, missing, border)
        # Strict decoding refuses padding anywhere but at the end of what it is given.
        if any(run.text[run.end - 1 : run.end] == b"=" for run in runs):
            raise NotBase64("the text has padding in its middle")
        decoded = self._decoded(*runs)
        self._undecoded = characters[border:]
        return decoded

    def finish(self) -> bytes:
        """The last one to three bytes. Raises NotBase64."""
        characters = self._undecoded.rstrip(b"=")
        quads = characters + b"=" * (-len(characters) % 4)
        decoded = b"".join(self._decoded(_Run(quads, 0, len(quads))))
        # Only encoding anew shows characters in excess and bits that decoding does not look at.
        if not decoded or self._encoded(decoded) != characters:
            raise NotBase64("the text does not end as base64 does")
        self._padding, self._undecoded = self._undecoded[len(characters) :], b""
        return decoded

    def text_of(self, decoded: bytes) -> bytes:
        """What was fed, without JSON escapes, made anew from all the bytes that came out so far."""
        return self._encoded(decoded) + self._padding + self._undecoded

    def _decoded(self, *runs: _Run) -> list[bytes]:
        """The bytes of the runs, each of whole quads. Raises NotBase64."""
        is_standard = self._is_standard or any(run.has(b"+", b"/") for run in runs)
        # Once the alphabet is known, decoding refuses the other one's characters.
        is_url_safe = self._is_url_safe or (not self._is_standard and any(run.has(b"-", b"_") for run in runs))
        if is_standard and is_url_safe:
            raise NotBase64("the text mixes both alphabets")
        try:
            decoded = [run.decoded(is_url_safe=is_url_safe) for run in runs if run.end > run.start]
        except ValueError as error:
            raise NotBase64(str(error)) from error
        self._is_standard, self._is_url_safe = is_standard, is_url_safe
        return decoded

    def _encoded(self, decoded: bytes) -> bytes:
        encoded = b64encode(decoded).rstrip(b"=")
        return encoded.translate(_TO_URL_SAFE) if self._is_url_safe else encoded


def decoded(text: bytes) -> bytes:
    """All the bytes of a whole text. Raises NotBase64."""
    whole = Base64Text()
    return b"".join([*whole.feed(text), whole.finish()])


class _Run(NamedTuple):
    """Some characters of a text, which are not copied for it: they are most of an image."""

    text: bytes
    start: int
    end: int

    def has(self, *characters: bytes) -> bool:
        return any(self.text.find(each, self.start, self.end) >= 0 for each in characters)

    def decoded(self, *, is_url_safe: bool) -> bytes:
        standard = self.text.translate(_TO_STANDARD) if is_url_safe else self.text
        return b64decode(memoryview(standard)[self.start : self.end], validate=True)


def _require_base64(characters: bytes) -> None:
    if characters.translate(None, _CHARACTERS):
        raise NotBase64("the text has other characters than those of base64")


def _unescaped(piece: bytes) -> bytes:
    if b"\\" not in piece:
        return piece
    try:
        text: str = json.loads('"' + piece.decode("ascii") + '"')
        return text.encode("ascii")
    except ValueError as error:
        raise NotBase64("the text has characters that base64 has not") from error
