"""What decoding says about a file: a shape, or the reason why it is no image. It never opens anything itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["PNG", "JPEG", "WEBP"]

MIME_TYPES: dict[Kind, str] = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
MAX_OUTPUT_PIXELS = 200_000_000
MAX_OUTPUT_EDGE = 32_768
# Of pictures that a decoder must hold whole; the largest that is sold has less than half of it.
MAX_UNFOLDED_PIXELS = 40_000_000


class Undecodable(Exception):
    """The bytes are no image we take. `reason` is one sentence; it never repeats what the file says."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Decoded:
    """A complete image as its decoder sees it: edges in pixels, size in bytes."""

    mime_type: str
    width: int
    height: int
    byte_count: int


def kind_of(head: bytes) -> Kind:
    """The format by its first 16 bytes. Raises `Undecodable` for all but PNG, JPEG and WebP."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WEBP"
    raise Undecodable("It is not a PNG, JPEG or WebP image.")


def require_unfoldable(width: int, height: int) -> None:
    """Refuse a picture that would take too much memory where it has to be held whole."""
    if width * height > MAX_UNFOLDED_PIXELS:
        raise Undecodable("The picture is too large to be unfolded.")


def require_sane(width: int, height: int) -> None:
    """Refuse an empty picture, and one so large that nobody asked for it."""
    if width < 1 or height < 1:
        raise Undecodable("The picture has no pixels.")
    if max(width, height) > MAX_OUTPUT_EDGE or width * height > MAX_OUTPUT_PIXELS:
        raise Undecodable("The picture is larger than any we take.")
