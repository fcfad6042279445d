"""Stored images in another format, made when they are first asked for and kept beside them for a day."""

from __future__ import annotations

from generation import decoding, media
from generation.media import StoredFile

_KINDS: dict[str, decoding.Kind] = {"image/png": "PNG", "image/jpeg": "JPEG", "image/webp": "WEBP"}
# So many qualities are told apart, that one image cannot fill the disk.
_STEP = 10


def in_format(file: StoredFile, own_type: str, mime_type: str, quality: int) -> tuple[StoredFile, str]:
    """The image of an output as this type, and what it is then: its own type still where it cannot be converted, since
    it is paid for.

    The new file is one that no row names: the walk through strays removes it. Raises FileNotFoundError.
    """
    step = 0 if mime_type == "image/png" else max(_STEP, quality // _STEP * _STEP)
    name = f"{file.name.rpartition('.')[0]}-q{step}.{media.EXTENSIONS[mime_type]}"
    try:
        if not media.exists(name):
            with media.local_file(file.name) as path:
                media.store(name, decoding.converted(path, _KINDS[mime_type], step))
    except decoding.Undecodable:
        return file, own_type
    return StoredFile(name, media.size(name)), mime_type
