"""Does an image made upstream decode completely? Read only: the bytes stay exactly as they came."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from generation.decoding import jpeg, pillow, png, webp
from generation.decoding.verdict import MIME_TYPES, Decoded, Kind, Undecodable, kind_of, require_unfoldable

_DRAFT_SCALE = 8


def verify_output(path: Path) -> Decoded:
    """The shape of a complete PNG, JPEG or WebP; anything else raises `Undecodable`.

    The bytes decide what it is, not a header or a name. A PNG is checked without being unfolded, a JPEG is decoded at
    an eighth of its size. Blocks while other pictures are being decoded. Errors of the disk are raised as they are.
    """
    with path.open("rb") as file, pillow.slot():
        kind = kind_of(file.read(16))
        file.seek(0)
        width, height = _CHECKS[kind](file)
        return Decoded(MIME_TYPES[kind], width, height, os.fstat(file.fileno()).st_size)


def _png(file: BinaryIO) -> tuple[int, int]:
    header = png.check(file)
    return header.width, header.height


def _jpeg(file: BinaryIO) -> tuple[int, int]:
    width, height = jpeg.check(file)
    # A JPEG of several scans is held whole by its decoder, however small the picture that is made of it.
    require_unfoldable(width, height)
    with pillow.opened(file, "JPEG") as image:
        _require_same_shape(image.size, (width, height))
        image.draft(None, (max(1, width // _DRAFT_SCALE), max(1, height // _DRAFT_SCALE)))
        image.load()
    return width, height


def _webp(file: BinaryIO) -> tuple[int, int]:
    header = webp.check(file)
    require_unfoldable(header.width, header.height)
    with pillow.opened(file, "WEBP") as image:
        _require_same_shape(image.size, (header.width, header.height))
        image.load()
    return header.width, header.height


def _require_same_shape(found: tuple[int, int], declared: tuple[int, int]) -> None:
    if found != declared:
        raise Undecodable("The picture has two different sizes.")


_CHECKS: dict[Kind, Callable[[BinaryIO], tuple[int, int]]] = {"PNG": _png, "JPEG": _jpeg, "WEBP": _webp}
