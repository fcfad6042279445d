"""A copy of everything that matters: the database first, then the files its rows name, so that no row is without one.

A second backup into the same folder copies only new files. Until its manifest is written the one before stays whole.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path

from django.apps import apps
from django.conf import settings
from django.db import connection

from generation import media
from generation.models import Media, Reference
from nbp_site.environment import SECRET_NAMES, write_private
from nbp_site.operating import databases

FORMAT = 1
MANIFEST = "manifest.json"
SECRETS = "secrets.json"
_PIECE = 1024 * 1024


@dataclass(slots=True)
class Manifest:
    """What a backup holds. Hashes are SHA-256; `purged` are images that were forgotten while it was made."""

    format: int
    made_at: str
    vendor: str
    database: str
    database_sha256: str
    files: str
    files_sha256: str
    file_count: int
    byte_count: int
    rows: dict[str, int]
    secret_marks: dict[str, str]
    has_secrets: bool
    purged: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class File:
    """A file that a row names."""

    name: str
    byte_count: int
    sha256: str

    @classmethod
    def read(cls, line: str) -> File:
        name, byte_count, sha256 = line.rstrip("\n").split("\t")
        return cls(name, int(byte_count), sha256)

    def __str__(self) -> str:
        return f"{self.name}\t{self.byte_count}\t{self.sha256}\n"


class Damaged(Exception):
    """What is missing or changed, in words for the operator."""


def make(folder: Path, *, with_secrets: bool, is_linked: bool, now: datetime) -> Manifest:
    """Back everything up into `folder`. Raises databases.CannotCopy, or Damaged if a row's file is missing here."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    before = read_manifest(folder) if (folder / MANIFEST).exists() else None
    stamp = now.strftime("%Y%m%dT%H%M%S%f")
    database = folder / f"database-{stamp}.{'dump' if connection.vendor == 'postgresql' else 'sqlite3'}"
    files = folder / f"files-{stamp}.tsv"
    with databases.snapshot(database) as read:
        count, total = _list_files(files, read)
        rows = _count_rows(read)
    purged = _copy_files(folder, files, is_linked=is_linked)
    if with_secrets:
        values = {name: str(getattr(settings, name)) for name in SECRET_NAMES}
        write_private(folder / SECRETS, json.dumps(values, indent=1))
    manifest = Manifest(
        format=FORMAT,
        made_at=now.isoformat(),
        vendor=connection.vendor,
        database=database.name,
        database_sha256=sha256_of(database),
        files=files.name,
        files_sha256=sha256_of(files),
        file_count=count,
        byte_count=total,
        rows=rows,
        secret_marks=secret_marks(),
        has_secrets=(folder / SECRETS).exists(),
        purged=purged,
    )
    write_private(folder / MANIFEST, json.dumps(asdict(manifest), indent=1))
    if before is not None:
        _tidy(folder, before, manifest)
    return manifest


def _list_files(path: Path, read: databases.Reader) -> tuple[int, int]:
    """Write down every file that a row of the snapshot names; how many there are, and their bytes."""
    count = total = 0
    with path.open("w", encoding="utf-8") as target:
        for file in _files(read):
            target.write(str(file))
            count, total = count + 1, total + file.byte_count
    return count, total


def _files(read: databases.Reader) -> Iterator[File]:
    columns = "SELECT storage_name, byte_count, sha256 FROM"
    for table in (f"{Media._meta.db_table} WHERE purged_at IS NULL", Reference._meta.db_table):
        yield from (File(*row) for row in read(f"{columns} {table}"))


def listed(path: Path) -> Iterator[File]:
    """The files of a backup's list."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield File.read(line)


def _copy_files(folder: Path, files: Path, *, is_linked: bool) -> list[str]:
    """Copy what is new; the names of images that were purged before their turn came."""
    purged: list[str] = []
    missing: list[str] = []
    for file in listed(files):
        target = folder / "media" / file.name
        if target.exists() and target.stat().st_size == file.byte_count:
            continue
        try:
            with media.local_file(file.name) as source:
                place(source, target, file, is_linked=is_linked)
        except FileNotFoundError:
            (purged if _was_forgotten(file.name) else missing).append(file.name)
    if missing:
        raise Damaged(f"{len(missing)} files that rows name are gone, the first is {missing[0]}")
    return purged


def _was_forgotten(name: str) -> bool:
    """Whether the row was purged, or has been deleted, since the snapshot."""
    is_named = Media.objects.filter(storage_name=name, purged_at=None).exists()
    return not (is_named or Reference.objects.filter(storage_name=name).exists())


def place(source: Path, target: Path, file: File, *, is_linked: bool = False) -> None:
    """Copy (or link) a file and make sure that it is the one the row means."""
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    try:
        if not (is_linked and _linked(source, draft)):
            shutil.copyfile(source, draft)
        if sha256_of(draft) != file.sha256:
            raise Damaged(f"{file.name} is not the file that was stored: its hash differs from its row's")
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def _linked(source: Path, target: Path) -> bool:
    """A second name for the same bytes, where both lie on one disk. Stored files are never changed in place."""
    try:
        os.link(source, target)
    except OSError:
        return False
    return True


def _tidy(folder: Path, before: Manifest, after: Manifest) -> None:
    """Remove the previous database, and files that no row names any more: what is to be forgotten is so here, too."""
    old_list = folder / before.files
    if old_list.exists():
        kept = {file.name for file in listed(folder / after.files)}
        for file in listed(old_list):
            if file.name not in kept:
                (folder / "media" / file.name).unlink(missing_ok=True)
    for name in {before.database, before.files} - {after.database, after.files}:
        (folder / name).unlink(missing_ok=True)


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a backup. Raises Damaged where there is none that this version reads."""
    try:
        found = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if found["format"] != FORMAT:
            raise Damaged(f"the backup has format {found['format']}, this version reads {FORMAT}")
        return Manifest(**found)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Damaged(f"there is no whole backup in {folder}: {error}") from error


def _count_rows(read: databases.Reader) -> dict[str, int]:
    """Rows by table."""
    tables = sorted(model._meta.db_table for model in apps.get_models())
    return {table: next(iter(read(f"SELECT COUNT(*) FROM {table}")))[0] for table in tables}  # noqa: S608 # nosec


def secret_marks() -> dict[str, str]:
    """A few digits of each secret's hash: enough to see that another one is in use."""
    values = {name: str(getattr(settings, name)).encode() for name in SECRET_NAMES}
    return {name: hmac.new(value, b"backup", hashlib.sha256).hexdigest()[:8] for name, value in values.items()}


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()
