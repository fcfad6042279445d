"""Fault catalogue C: disks that are full or read-only, files that vanish, triggers that are gone, clocks that are wrong."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
from django.core.files.storage import default_storage
from django.db import OperationalError, connection
from django.db.backends.utils import CursorWrapper
from django.test import Client
from psycopg.errors import DiskFull

from accounts.ledger.models import Entry, Hold, Wallet
from generation import audit, media, submission
from generation.channels.fakes.gemini import FakeGemini
from generation.contract import GenerationRequest
from generation.models import Attempt, Charge, Generation, Media, Output
from tests.faults.processes import in_threads, until
from tests.faults.raw_rows import Facts, files_below

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
FREE_FAILURE = Facts("failed", "upstream_no_answer", ("unknown",) * 3, 0, 0, 0, "released", 0)


class Disk:
    """A small file system of its own; full when it is made that small."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def mount(self, options: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        is_mounted = os.path.ismount(self.folder)
        remount = f"{'remount,' if is_mounted else ''}{options}"
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", remount, "tmpfs", str(self.folder)], capture_output=True, check=False
        )
        if done.returncode and not is_mounted:
            pytest.skip("SKIPPED LOUDLY: no file system can be mounted here")
        assert done.returncode == 0, done.stderr

    def fill(self) -> None:
        """Not a byte more fits."""
        with contextlib.suppress(OSError), (self.folder / "filler").open("wb") as file:
            while True:
                file.write(b"x" * 4096)
                file.flush()

    def break_down(self, how: str) -> None:
        self.mount("size=64k" if how == "full" else "ro")
        if how == "full":
            self.fill()

    def mend(self) -> None:
        self.mount("rw,size=256m")
        (self.folder / "filler").unlink(missing_ok=True)

    def unmount(self) -> None:
        if os.path.ismount(self.folder):
            subprocess.run(["umount", "--lazy", str(self.folder)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    if os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("SKIPPED LOUDLY: only root can mount a small disk")
    made = Disk(tmp_path / "disk")
    yield made
    made.unmount()


def _is_ready(site: Any) -> bool:
    return httpx2.get(f"{site.base_url}/readyz", trust_env=False, timeout=30).status_code == 200


@pytest.mark.parametrize("how", ["full", "read-only"])
@pytest.mark.parametrize("place", ["media", "spool"])
def test_c4_a_disk_that_takes_no_image_costs_nobody_anything_and_shows(
    make_embedded: Any, disk: Disk, gemini: FakeGemini, place: str, how: str
) -> None:
    house = make_embedded(NBP_MEDIA_ROOT=str(disk.folder), NBP_MIN_FREE_BYTES="100000")
    site = house.site
    if place == "spool":
        disk.folder = site.spool
    disk.mount("size=256m")
    until(lambda: _is_ready(site), what="it is fit for work")
    disk.break_down(how)
    lost = site.accepted("a picture too many")
    assert site.ended(lost)["status"] == "failed"
    assert site.rows.of(lost) == FREE_FAILURE
    until(lambda: not _is_ready(site), what="its health is red")
    disk.mend()
    until(lambda: _is_ready(site), what="it is fit for work again")
    site.all_ended()
    kept = site.accepted("a picture that fits")
    assert site.ended(kept)["status"] == "succeeded"
    assert site.strays() | files_below(site.spool) == set()
    site.prove()
    house.stop()
    disk.unmount()


_NO_PAGE_MORE, _ANY_SIZE = "PRAGMA max_page_count = 1", "PRAGMA max_page_count = 1073741823"


@pytest.fixture
def full_database(transactional_db: None) -> Iterator[Callable[[], None]]:
    """full_database() lets the database grow no more, by no connection of any thread, until the test is over."""
    execute = CursorWrapper.execute

    def execute_when_full(self: Any, sql: str, params: Any = None) -> Any:
        if self.db.vendor == "sqlite":
            self.cursor.execute(_NO_PAGE_MORE)
            try:
                return execute(self, sql, params)
            finally:
                # The connection outlives the test.
                self.cursor.connection.execute(_ANY_SIZE)
        if sql.startswith("INSERT"):
            # A full disk is an error of the statement that meets it; nothing else can fill PostgreSQL's by hand.
            raise OperationalError("could not extend file: No space left on device") from DiskFull()
        return execute(self, sql, params)

    def fill() -> None:
        if connection.vendor == "sqlite":
            with connection.cursor() as cursor:
                # Rows of earlier tests left room behind that would be used first.
                cursor.execute("VACUUM")
        patch.setattr(CursorWrapper, "execute", execute_when_full)

    with pytest.MonkeyPatch.context() as patch:
        yield fill


def test_c5_a_full_database_refuses_with_a_503_and_leaves_nothing_half_done(
    alice: Any, queue: Any, full_database: Any, audited: None
) -> None:
    wallet = Wallet.objects.get(account=alice.account, mode="test")
    full_database()
    answers = []
    # SQLite finds room in pages that are not full yet: it must be full at the latest after some long prompts.
    for place in range(200):
        body = {"prompt": f"{place} " + "long words " * 5000}
        answer = Client().post("/api/v1/generations", body, content_type="application/json", headers=alice.headers())
        answers.append(answer.status_code)
        if answer.status_code != 202:
            break
    taken = answers.count(202)
    assert set(answers) <= {202, 503}
    assert answers[-1] == 503, answer.content
    assert answer.json()["error"]["type"] == "unavailable_error"
    assert (Generation.objects.count(), Output.objects.count(), Hold.objects.count()) == (taken, taken, taken)
    now = Wallet.objects.get(pk=wallet.pk)
    assert now.head_sequence - wallet.head_sequence == taken
    assert now.available_micros + now.held_micros == wallet.available_micros


def _delivered(person: Any, queue: Any) -> Media:
    accepted = submission.accept(
        person.requester(), GenerationRequest(prompt="kept", image_size="1K"), now=datetime.now(UTC)
    )
    queue.run()
    return Media.objects.get(output__generation_id=accepted.generation_id)


def _cut_short(name: str) -> None:
    path = Path(default_storage.path(name))
    path.write_bytes(path.read_bytes()[:-100])


def _change(name: str) -> None:
    path = Path(default_storage.path(name))
    path.write_bytes(path.read_bytes()[:-100] + b"x" * 100)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("spoil", "words", "status"),
    [(media.remove, "is gone", 410), (_cut_short, "has changed", 410), (_change, "has changed", 200)],
    ids=["removed", "cut short", "changed"],
)
def test_c6_an_image_that_is_spoilt_after_its_delivery_is_named_by_the_audit_and_is_never_half_sent(
    alice: Any, queue: Any, spoil: Any, words: str, status: int
) -> None:
    stored = _delivered(alice, queue)
    assert list(audit.violations()) == []
    spoil(stored.storage_name)
    found = [each.detail for each in audit.violations()]
    assert len(found) == 1
    assert words in found[0]
    assert stored.storage_name in found[0]
    answer = Client().get(f"/api/v1/outputs/{stored.output.public_id}/content", headers=alice.headers())
    assert answer.status_code == status
    # The charge stands as it was: it is the operator's to give back, with a reason.
    assert Charge.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_c4_a_storage_that_fails_is_never_a_success(
    alice: Any, queue: Any, audited: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same as a full disk where none can be mounted: the write itself fails, first for once, then for good."""
    import errno

    real, left = media.store, [1]

    def store(*arguments: Any) -> None:
        if left[0]:
            left[0] -= 1
            raise OSError(errno.ENOSPC, "No space left on device")
        real(*arguments)

    monkeypatch.setattr(media, "store", store)
    submission.accept(alice.requester(), GenerationRequest(prompt="once"), now=datetime.now(UTC))
    queue.run_to_the_end()
    assert list(Attempt.objects.order_by("number").values_list("status", flat=True)) == ["unknown", "ok"]
    left[0] = 100
    submission.accept(alice.requester(), GenerationRequest(prompt="for good"), now=datetime.now(UTC))
    queue.run_to_the_end()
    assert sorted(Output.objects.values_list("state", "error_code")) == [
        ("failed", "upstream_no_answer"),
        ("succeeded", ""),
    ]
    assert (Charge.objects.count(), Media.objects.count()) == (1, 1)
    assert Entry.objects.filter(kind="capture").count() == 1


HOUR = 3600


@pytest.mark.parametrize("seconds", [HOUR, -HOUR], ids=["an hour ahead", "an hour behind"])
def test_c9_a_process_whose_clock_is_wrong_takes_nothing_from_others_and_loses_nothing(
    house: Any, gemini: FakeGemini, seconds: int
) -> None:
    """Leases are the database's time. Calls last longer than a lease here, and two sweepers look at them."""
    gemini.latency_seconds = 7.0
    house.start(FAULT_CLOCK_SECONDS=str(seconds))
    house.second()
    asked = in_threads(12, lambda place: house.site.accepted(f"clock {seconds} {place} {time.time_ns()}"))
    house.site.all_ended()
    assert [house.site.rows.of(each) for each in asked] == [
        Facts("succeeded", "", ("ok",), 1, 1, 1, "captured", 1)
    ] * len(asked)
    assert len(gemini.requests) == len(asked)
    house.site.prove()


@pytest.mark.services
@pytest.mark.parametrize("seconds", [HOUR, -HOUR], ids=["an hour ahead", "an hour behind"])
def test_c9_a_lost_nudge_is_sent_again_in_time_by_a_worker_whose_clock_is_wrong(
    grown_up: Any, redis_server: Any, gemini: FakeGemini, seconds: int
) -> None:
    grown_up.start()
    grown_up.dismiss()
    asked = grown_up.site.accepted(f"lost {seconds} {time.time_ns()}")
    redis_server.client().flushall()
    grown_up.worker(FAULT_CLOCK_SECONDS=str(seconds))
    assert grown_up.site.ended(asked, seconds=60)["status"] == "succeeded"
    assert len(gemini.requests) == 1
    grown_up.site.prove()
