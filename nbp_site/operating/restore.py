"""A backup becomes the installation again, and proves itself: hashes, counts, and the whole audit.

It never writes over an installation that holds anything, unless told to, and never under a running worker.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from django.conf import settings
from django.core.management import call_command
from django.db import connection

from accounts.ledger.audit import Violation
from accounts.models import User
from accounts.payments import nightly
from accounts.payments.models import Payment
from accounts.transactions import write_transaction
from generation import audit, media
from generation.models import Generation, Media
from nbp_site.environment import write_private
from nbp_site.models import WorkerProbe
from nbp_site.operating import backup, databases, health
from nbp_site.operating.backup import Damaged, Manifest

Say = Callable[[str], None]


class NotEmpty(Exception):
    """Why this installation is not written over, in words for the operator."""


@dataclass(slots=True)
class Restored:
    """What came of it: warnings about secrets, and what the audit found."""

    manifest: Manifest
    warnings: list[str] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)


def restore(folder: Path, *, is_forced: bool, now: datetime, say: Say) -> Restored:
    """Make this installation what the backup holds. Raises Damaged, NotEmpty or databases.CannotCopy."""
    manifest = backup.read_manifest(folder)
    _check_backup(folder, manifest)
    _check_target(is_forced=is_forced)
    say("Loading the database ...")
    databases.load(folder / manifest.database)
    counted = _counted(manifest)
    if counted:
        raise Damaged(f"the database was not loaded whole: {counted}")
    say(f"Storing {manifest.file_count} files ...")
    _store_files(folder, manifest)
    say("Bringing the database to this version ...")
    call_command("migrate", interactive=False, verbosity=0)
    _settle_in(manifest, now)
    found = Restored(manifest, warnings=list(_keep_secrets(folder, manifest)))
    say("Auditing ...")
    found.violations = list(audit.violations())
    return found


def _check_backup(folder: Path, manifest: Manifest) -> None:
    if manifest.vendor != connection.vendor:
        raise Damaged(f"the backup is of {manifest.vendor}, this installation uses {connection.vendor}")
    for name, sha256 in ((manifest.database, manifest.database_sha256), (manifest.files, manifest.files_sha256)):
        path = folder / name
        if not path.is_file() or backup.sha256_of(path) != sha256:
            raise Damaged(f"{name} is missing or has changed since the backup was made")
    gone = set(manifest.purged)
    for file in backup.listed(folder / manifest.files):
        path = folder / "media" / file.name
        if file.name not in gone and not (path.is_file() and path.stat().st_size == file.byte_count):
            raise Damaged(f"media/{file.name} is missing from the backup or has another size")


def _check_target(*, is_forced: bool) -> None:
    tables = connection.introspection.table_names()
    if WorkerProbe._meta.db_table in tables and health.fresh_workers().exists():
        raise NotEmpty("a worker of this installation is running: stop the service first")
    if is_forced:
        return
    for model in (User, Generation):
        if model._meta.db_table in tables and model._base_manager.exists():
            raise NotEmpty("this installation is not empty; --force writes over it, and what it holds is lost")


def _counted(manifest: Manifest) -> str:
    """What has another number of rows than at the backup."""
    tables = set(connection.introspection.table_names())
    for table, expected in manifest.rows.items():
        count = _count(table) if table in tables else -1
        if count != expected:
            return f"{table} has {count} rows instead of {expected}"
    return ""


def _count(table: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT COUNT(*) FROM {connection.ops.quote_name(table)}")  # noqa: S608 # nosec
        return int(cursor.fetchone()[0])


def _store_files(folder: Path, manifest: Manifest) -> None:
    gone = set(manifest.purged)
    for file in backup.listed(folder / manifest.files):
        if file.name not in gone:
            _store(folder / "media" / file.name, file)


def _store(source: Path, file: backup.File) -> None:
    """By way of a copy: storage may take a file over by linking it, and a backup must share no bytes with it."""
    if media.exists(file.name):
        if media.sha256_of(file.name) == file.sha256:
            return
        media.remove(file.name)
    copy = media.spool_directory() / f"restore-{uuid.uuid4().hex}"
    try:
        backup.place(source, copy, file)
        media.store(file.name, copy)
    finally:
        copy.unlink(missing_ok=True)


def _settle_in(manifest: Manifest, now: datetime) -> None:
    """What was true of the old place only: its workers, and images it forgot while the backup was made."""
    with write_transaction():
        WorkerProbe.objects.all().delete()
        for name in manifest.purged:
            Media.objects.filter(storage_name=name, purged_at=None).update(purged_at=now)
        if Payment.objects.exists():
            # Stripe went on since the backup: it is asked before a saved card is charged.
            nightly.ask_for_one(now=now)


_LOST = {
    "NBP_KEY_PEPPER": "every API key is void",
    "NBP_FIELD_KEYS": "channels' credentials cannot be opened",
    "NBP_LINK_KEY": "links to images that were handed out are void",
    "SECRET_KEY": "everybody is signed out, and payments made since the backup do not come back by themselves",  # nosec # a sentence
}


def _keep_secrets(folder: Path, manifest: Manifest) -> Iterator[str]:
    """A development installation takes the backup's secrets over; production is told what it lacks."""
    path = folder / backup.SECRETS
    if manifest.has_secrets and settings.NBP_IS_DEVELOPMENT:
        values = json.loads(path.read_text(encoding="utf-8"))
        write_private(Path(settings.NBP_DATA_DIR) / "secrets.json", json.dumps(values, indent=1))
        return
    own = backup.secret_marks()
    for name, mark in manifest.secret_marks.items():
        if own.get(name) != mark:
            yield f"{name} is another one than when the backup was made: {_LOST[name]}"
