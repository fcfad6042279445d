"""Bytes to storage and back: names derived from ids, files exactly as they came, and links that expire."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from django.conf import settings
from django.core.files.base import ContentFile, File
from django.core.files.storage import default_storage

from accounts.identifiers import public_id

EXTENSIONS = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp"}


class StoredFile(NamedTuple):
    """A file in storage: its name there, and how many bytes it has."""

    name: str
    byte_count: int


def spool_directory() -> Path:
    """Where bodies wait until they are stored."""
    path = Path(settings.NBP_SPOOL_DIR)
    path.mkdir(parents=True, exist_ok=True)
    return path


def remove_old_spool_files(*, older_than: datetime) -> None:
    """Remove what a crash left in the spool."""
    for path in spool_directory().iterdir():
        with contextlib.suppress(FileNotFoundError):
            if path.is_file() and path.stat().st_mtime < older_than.timestamp():
                path.unlink()


def remove(name: str) -> None:
    """Remove a stored file; harmless when it is gone."""
    default_storage.delete(name)


def output_name(output_id: uuid.UUID, sha256: str, mime_type: str) -> str:
    """The stored name of an output's image: the same bytes have the same name, so storing twice is harmless."""
    name = public_id("out", output_id)
    return f"outputs/{name[-2:]}/{name}-{sha256[:12]}.{EXTENSIONS.get(mime_type, 'bin')}"


def reference_name(generation_id: uuid.UUID, index: int, mime_type: str) -> str:
    name = public_id("gen", generation_id)
    return f"references/{name[-2:]}/{name}-{index}.{EXTENSIONS[mime_type]}"


def store(name: str, source: Path | bytes) -> None:
    """Put a file under exactly this name, durable when this returns."""
    if default_storage.exists(name):
        return
    path = _local_path(name)
    if path is None:
        with _opened(source) as file:
            default_storage.save(name, file)
        return
    _write_local(path, source)


def _local_path(name: str) -> Path | None:
    try:
        return Path(default_storage.path(name))
    except NotImplementedError:
        return None


def _write_local(path: Path, source: Path | bytes) -> None:
    """Write beside the place and rename: a crash leaves the old state or the new one, never half a file."""
    _make_folder(path.parent)
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        if isinstance(source, bytes):
            draft.write_bytes(source)
        else:
            _link_or_copy(source, draft)
        draft.chmod(0o640)
        _make_durable(draft)
        draft.replace(path)
        _make_durable(path.parent)
    finally:
        draft.unlink(missing_ok=True)


def _make_folder(path: Path) -> None:
    """For its owner and group, as the files in it are, whatever the process's umask says."""
    if not path.is_dir():
        _make_folder(path.parent)
        path.mkdir(exist_ok=True)
        path.chmod(0o750)


def _link_or_copy(source: Path, target: Path) -> None:
    """A second name for the same bytes where the file system can; a picture of 20 MB is not copied for nothing."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _make_durable(path: Path) -> None:
    """What the file or directory says now survives a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _opened(source: Path | bytes) -> Iterator[File[bytes]]:
    if isinstance(source, bytes):
        yield ContentFile(source)
        return
    with source.open("rb") as file:
        yield File(file)


@contextmanager
def local_file(name: str) -> Iterator[Path]:
    """The stored file as a path this process can read, a copy where storage is elsewhere, or FileNotFoundError."""
    path = _local_path(name)
    if path is not None:
        if not path.exists():
            raise FileNotFoundError(name)
        yield path
        return
    copy = spool_directory() / f"media-{uuid.uuid4().hex}"
    try:
        with default_storage.open(name, "rb") as stored, copy.open("wb") as target:
            shutil.copyfileobj(stored, target, 1024 * 1024)
        yield copy
    finally:
        copy.unlink(missing_ok=True)


def read(name: str) -> bytes:
    """The whole stored file."""
    with default_storage.open(name, "rb") as stored:
        return bytes(stored.read())


def is_whole(file: StoredFile) -> bool:
    """Whether the file is there with all its bytes; looks at its size only."""
    try:
        return default_storage.size(file.name) == file.byte_count
    except FileNotFoundError:
        return False


def is_local(name: str) -> bool:
    """Whether the file lies on a disk of this machine rather than in storage elsewhere."""
    return _local_path(name) is not None


def opened(name: str) -> File[bytes]:
    """The stored file, open for reading; whoever asked closes it."""
    return default_storage.open(name, "rb")


def chunks(name: str, size: int = 1024 * 1024) -> Iterator[bytes]:
    """The stored file in pieces."""
    with default_storage.open(name, "rb") as stored:
        while piece := stored.read(size):
            yield piece


def size(name: str) -> int:
    """How many bytes a stored file has. Raises FileNotFoundError."""
    return int(default_storage.size(name))


def exists(name: str) -> bool:
    return bool(default_storage.exists(name))


def sha256_of(name: str) -> str:
    """The hash of the stored bytes."""
    digest = hashlib.sha256()
    for piece in chunks(name):
        digest.update(piece)
    return digest.hexdigest()


def _signature(output: str, expires: int) -> str:
    key = settings.NBP_LINK_KEY.encode()
    return hmac.new(key, f"{output}|{expires}".encode(), hashlib.sha256).hexdigest()[:40]


def signed_query(output: str, *, seconds: int | None = None) -> str:
    """The query that makes a link to an output's image work for a while. `output` is its public id."""
    # Rounded so that a page rendered twice within minutes carries the same link and the browser's cache holds.
    expires = (int(time.time()) // 300 + 1) * 300 + (seconds or settings.NBP_LINK_SECONDS)
    return f"expires={expires}&signature={_signature(output, expires)}"


def is_signed(output: str, expires: str, signature: str) -> bool:
    """Whether a link's query was made by us and has not expired."""
    if not expires.isascii() or not expires.isdigit() or len(expires) > 12 or not signature.isascii():
        return False
    is_right = hmac.compare_digest(_signature(output, int(expires)), signature)
    return is_right and int(expires) > time.time()
