"""Decodes base64 that comes in pieces, as strictly as the upstreams' SDKs do; it must never guess at broken text."""

from __future__ import annotations

import json
import string

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

    def feed(self, piece: bytes) -> bytes:
        """The bytes that are certain by now. The piece must not end inside a JSON escape. Raises NotBase64."""
        characters = self._undecoded + _unescaped(piece)
        border = max(len(characters) - 1, 0) // 4 * 4
        if characters.find(b"=", 0, border) >= 0 or characters[border:].translate(None, _CHARACTERS):
            raise NotBase64("the text has padding in its middle, or other characters than those of base64")
        decoded = self._decoded(characters, border)
        self._undecoded = characters[border:]
        return decoded

    def finish(self) -> bytes:
        """The last one to three bytes. Raises NotBase64."""
        characters = self._undecoded.rstrip(b"=")
        quads = characters + b"=" * (-len(characters) % 4)
        decoded = self._decoded(quads, len(quads))
        # Only encoding anew shows characters in excess and bits that decoding does not look at.
        if not decoded or self._encoded(decoded) != characters:
            raise NotBase64("the text does not end as base64 does")
        self._padding, self._undecoded = self._undecoded[len(characters) :], b""
        return decoded

    def text_of(self, decoded: bytes) -> bytes:
        """What was fed, without JSON escapes, made anew from all the bytes that came out so far."""
        return self._encoded(decoded) + self._padding + self._undecoded

    def _decoded(self, characters: bytes, border: int) -> bytes:
        """The bytes of the characters up to a border, which are not copied for it: they are most of an image."""
        is_standard = self._is_standard or _has(characters, border, b"+", b"/")
        # Once the alphabet is known, decoding refuses the other one's characters.
        is_url_safe = self._is_url_safe or (not self._is_standard and _has(characters, border, b"-", b"_"))
        if is_standard and is_url_safe:
            raise NotBase64("the text mixes both alphabets")
        try:
            standard = characters.translate(_TO_STANDARD) if is_url_safe else characters
            decoded = b64decode(memoryview(standard)[:border], validate=True)
        except ValueError as error:
            raise NotBase64(str(error)) from error
        self._is_standard, self._is_url_safe = is_standard, is_url_safe
        return decoded

    def _encoded(self, decoded: bytes) -> bytes:
        encoded = b64encode(decoded).rstrip(b"=")
        return encoded.translate(_TO_URL_SAFE) if self._is_url_safe else encoded


def _has(characters: bytes, border: int, *those: bytes) -> bool:
    return any(characters.find(each, 0, border) >= 0 for each in those)


def _unescaped(piece: bytes) -> bytes:
    if b"\\" not in piece:
        return piece
    try:
        text: str = json.loads('"' + piece.decode("ascii") + '"')
        return text.encode("ascii")
    except ValueError as error:
        raise NotBase64("the text has characters that base64 has not") from error
