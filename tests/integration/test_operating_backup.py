"""Backups: what they hold, what a second one copies, and what keeps a damaged one from being restored."""

from __future__ import annotations

import io
import json
import os
import sqlite3
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client

from accounts.models import User
from generation.models import Generation, Media, Output
from nbp_site.models import WorkerProbe
from nbp_site.operating import backup, databases, restore

pytestmark = pytest.mark.django_db(transaction=True)
ON_SQLITE = pytest.mark.skipif(
    os.environ.get("DATABASE_URL", "").startswith("postgres"), reason="reads the copy of a SQLite database"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "backup"


@pytest.fixture
def work(alice: Any, queue: Any) -> Callable[[], None]:
    """work() has one more image made."""

    def make() -> None:
        body = {"prompt": f"number {Generation.objects.count()}", "image_size": "1K"}
        Client().post("/api/v1/generations", body, headers=alice.headers(), content_type="application/json")
        queue.run_to_the_end()

    return make


def _make(folder: Path, *, is_linked: bool = False) -> backup.Manifest:
    return backup.make(folder, with_secrets=False, is_linked=is_linked, now=datetime.now(UTC))


def _media(folder: Path) -> dict[str, os.stat_result]:
    root = folder / "media"
    return {str(path.relative_to(root)): path.stat() for path in root.rglob("*") if path.is_file()}


def _refusal(folder: Path, *, is_forced: bool = True) -> str:
    with pytest.raises((backup.Damaged, restore.NotEmpty)) as caught:
        restore.restore(folder, is_forced=is_forced, now=datetime.now(UTC), say=lambda text: None)
    return str(caught.value)


def test_a_backup_holds_the_rows_and_the_files_they_name(work: Any, folder: Path) -> None:
    work()
    made = _make(folder)
    row = Media.objects.get()
    assert set(_media(folder)) == {row.storage_name}
    assert backup.sha256_of(folder / "media" / row.storage_name) == row.sha256
    assert (made.file_count, made.byte_count) == (1, row.byte_count)
    assert (made.rows["generation_output"], made.rows["accounts_user"]) == (1, User.objects.count())
    assert backup.read_manifest(folder) == made
    assert {path.name for path in folder.iterdir()} == {"media", "manifest.json", made.database, made.files}


@ON_SQLITE
def test_the_copy_is_one_whole_file(work: Any, folder: Path) -> None:
    work()
    path = folder / _make(folder).database
    database = sqlite3.connect(path)
    assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert database.execute("SELECT state FROM generation_output").fetchall() == [("succeeded",)]
    assert database.execute("SELECT COUNT(*) FROM sqlite_master WHERE type = 'trigger'").fetchone()[0] > 5
    database.close()
    assert not path.with_name(path.name + "-wal").exists()


def test_a_second_backup_copies_what_is_new_and_drops_what_is_forgotten(work: Any, folder: Path) -> None:
    work()
    first = _make(folder)
    before = _media(folder)
    work()
    second = _make(folder)
    after = _media(folder)
    assert len(after) == 2
    assert all(after[name].st_mtime_ns == stat.st_mtime_ns for name, stat in before.items())
    assert not (folder / first.database).exists()
    assert (folder / second.database).exists()
    Media.objects.filter(storage_name__in=before).update(purged_at=datetime.now(UTC))
    _make(folder)
    assert set(_media(folder)) == set(after) - set(before)


def test_a_backup_that_breaks_off_leaves_the_one_before_whole(
    work: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work()
    first = _make(folder)
    work()

    def crash(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(backup, "_copy_files", crash)
        _make(folder)
    assert backup.read_manifest(folder) == first
    restore._check_backup(folder, first)


def test_linked_images_share_their_bytes(work: Any, folder: Path) -> None:
    work()
    _make(folder, is_linked=True)
    [(name, stat)] = _media(folder).items()
    assert stat.st_ino == Path(default_storage.path(name)).stat().st_ino


def test_an_image_purged_while_the_backup_runs_is_noted(
    work: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work()
    name = Media.objects.get().storage_name
    copy = backup._copy_files

    def purge_first(*arguments: Any, **options: Any) -> list[str]:
        Media.objects.update(purged_at=datetime.now(UTC))
        default_storage.delete(name)
        return copy(*arguments, **options)

    monkeypatch.setattr(backup, "_copy_files", purge_first)
    made = _make(folder)
    assert made.purged == [name]
    Media.objects.update(purged_at=None)
    restore._check_backup(folder, made)
    restore._settle_in(made, datetime.now(UTC))
    assert Media.objects.get().purged_at is not None


def test_an_image_that_is_gone_is_not_passed_over(work: Any, folder: Path) -> None:
    work()
    default_storage.delete(Media.objects.get().storage_name)
    with pytest.raises(backup.Damaged, match="1 files that rows name are gone"):
        _make(folder)
    assert not (folder / "manifest.json").exists()


def test_an_image_that_has_changed_is_not_passed_over(work: Any, folder: Path) -> None:
    work()
    path = Path(default_storage.path(Media.objects.get().storage_name))
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(backup.Damaged, match="its hash differs"):
        _make(folder)
    assert _media(folder) == {}


def test_unfinished_work_is_in_the_backup(alice: Any, queue: Any, folder: Path) -> None:
    body = {"prompt": "waiting", "image_size": "1K"}
    Client().post("/api/v1/generations", body, headers=alice.headers(), content_type="application/json")
    with databases.snapshot(folder.parent / "copy.sqlite3") as read:
        meanwhile = threading.Thread(target=_change)
        meanwhile.start()
        meanwhile.join()
        assert list(read("SELECT prompt FROM generation_generation")) == [("waiting",)]
        assert list(read("SELECT state FROM generation_output")) == [("queued",)]
    assert Output.objects.get().state == "leased"
    Output.objects.update(state="queued")


def _change() -> None:
    """Somebody else writes, on a connection of their own."""
    Output.objects.update(state="leased")
    Generation.objects.update(prompt="changed since")
    connection.close()


# --- what is not restored ------------------------------------------------------------------------------------------


def test_nothing_is_no_backup(folder: Path) -> None:
    assert "there is no whole backup" in _refusal(folder)


def test_an_installation_that_holds_something_is_not_written_over(work: Any, folder: Path) -> None:
    work()
    _make(folder)
    assert "--force writes over it" in _refusal(folder, is_forced=False)


def test_nothing_is_restored_under_a_running_worker(work: Any, folder: Path) -> None:
    work()
    _make(folder)
    now = datetime.now(UTC)
    WorkerProbe.objects.create(name="w", host="h", pid=1, started_at=now, seen_at=now, beaten_at=now)
    assert "stop the service first" in _refusal(folder)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder, made: (folder / made.database).write_bytes(b"x"), "has changed since"),
        (lambda folder, made: (folder / made.database).unlink(), "is missing or has changed"),
        (lambda folder, made: (folder / made.files).write_text(""), "has changed since"),
        (lambda folder, made: next((folder / "media").rglob("*.png")).unlink(), "is missing from the backup"),
        (lambda folder, made: next((folder / "media").rglob("*.png")).write_bytes(b"x"), "has another size"),
        (lambda folder, made: (folder / "manifest.json").write_text("{"), "there is no whole backup"),
    ],
    ids=["database changed", "database gone", "list changed", "image gone", "image cut", "manifest cut"],
)
def test_a_damaged_backup_is_refused_before_anything_is_written(
    work: Any, folder: Path, damage: Any, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    work()
    damage(folder, _make(folder))
    monkeypatch.setattr(databases, "load", lambda path: pytest.fail("it was loaded"))
    assert said in _refusal(folder)


def test_an_image_whose_bytes_changed_is_found_too(work: Any, folder: Path) -> None:
    work()
    made = _make(folder)
    path = next((folder / "media").rglob("*.png"))
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    default_storage.delete(Media.objects.get().storage_name)
    with pytest.raises(backup.Damaged, match="its hash differs"):
        restore._store_files(folder, made)
    assert not default_storage.exists(Media.objects.get().storage_name)


def test_restored_images_are_copies_and_replace_what_is_wrong(work: Any, folder: Path) -> None:
    work()
    made = _make(folder)
    row = Media.objects.get()
    path = Path(default_storage.path(row.storage_name))
    for damage in (path.unlink, lambda: path.write_bytes(b"x")):
        damage()
        restore._store_files(folder, made)
        assert backup.sha256_of(path) == row.sha256
        assert path.stat().st_nlink == 1
    before = path.stat().st_ino
    restore._store_files(folder, made)
    assert path.stat().st_ino == before, "a file that is right is left alone"


def test_another_kind_of_database_is_refused(work: Any, folder: Path) -> None:
    work()
    _make(folder)
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    (folder / "manifest.json").write_text(json.dumps(manifest | {"vendor": "oracle"}), encoding="utf-8")
    assert "the backup is of oracle" in _refusal(folder)
    (folder / "manifest.json").write_text(json.dumps(manifest | {"format": 99}), encoding="utf-8")
    assert "format 99" in _refusal(folder)


def test_rows_that_were_lost_on_the_way_are_noticed(work: Any, folder: Path) -> None:
    work()
    made = _make(folder)
    assert restore._counted(made) == ""
    made.rows["generation_output"] += 1
    assert restore._counted(made) == "generation_output has 1 rows instead of 2"


def test_other_secrets_are_named_with_what_they_cost(work: Any, folder: Path, settings: Any) -> None:
    made = _make(folder)
    settings.NBP_IS_DEVELOPMENT = False
    assert list(restore._keep_secrets(folder, made)) == []
    settings.NBP_KEY_PEPPER = "another"
    [warning] = restore._keep_secrets(folder, made)
    assert warning == "NBP_KEY_PEPPER is another one than when the backup was made: every API key is void"


def test_postgresqls_tools_are_asked_for_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "vendor", "postgresql")
    monkeypatch.setattr(databases.shutil, "which", lambda tool: None)
    with pytest.raises(databases.CannotCopy, match="pg_dump and pg_restore must be installed"):
        databases.check_tools()


def test_the_command_says_what_it_made_and_what_is_wrong(work: Any, folder: Path) -> None:
    work()
    out = io.StringIO()
    call_command("backup", str(folder), "--json", stdout=out)
    found = json.loads(out.getvalue())
    assert (found["file_count"], found["has_secrets"], found["folder"]) == (1, False, str(folder))
    with pytest.raises(CommandError, match="not empty"):
        call_command("restore", str(folder), stdout=out, stderr=io.StringIO())
    default_storage.delete(Media.objects.get().storage_name)
    with pytest.raises(CommandError, match="are gone"):
        call_command("backup", str(folder.parent / "other"), stdout=out)
