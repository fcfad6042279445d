"""Stored images in another format, made when they are first asked for and kept beside them for a day."""

from __future__ import annotations

from generation import decoding, media
from generation.media import StoredFile

_KINDS = {"image/png": "PNG", "image/jpeg": "JPEG", "image/webp": "WEBP"}


def in_format(file: StoredFile, mime_type: str, quality: int) -> StoredFile:
    """The image of an output as this type. Its file is one that no row names: the walk through strays removes it."""
    stem = file.name.rpartition(".")[0]
    name = f"{stem}-q{quality}.{media.EXTENSIONS[mime_type]}"
    if not media.exists(name):
        with media.local_file(file.name) as path:
            media.store(name, decoding.converted(path, _KINDS[mime_type], quality))  # type: ignore[arg-type]
    return StoredFile(name, media.size(name))
