"""The drill: a backup made while work is in flight becomes an installation of its own, where that work ends once."""

from __future__ import annotations

import json
import os
import stat
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import psycopg
import pytest

from tests.live.conftest import Service

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
PRICE = 147_400


def _busy(running: Service, stop: threading.Event, made: list[str]) -> None:
    """A customer who goes on ordering until told to stop."""
    while not stop.is_set():
        answer = running.create(f"order {len(made)}", wait=0, image_size="1K")
        made.append(answer.json()["id"])
        stop.wait(0.02)


def _backed_up_in_flight(running: Service, folder: Path, *arguments: str) -> tuple[list[str], dict[str, Any]]:
    """Give the service work that takes its time, keep ordering, and back up meanwhile."""
    done = running.create("finished before", image_size="1K").json()["id"]
    slow = [running.create(f"sandbox:slow:8 {index}", wait=0, image_size="1K").json()["id"] for index in range(4)]
    made: list[str] = []
    stop = threading.Event()
    customer = threading.Thread(target=_busy, args=(running, stop, made))
    customer.start()
    try:
        answer = running.manage("backup", str(folder), "--with-secrets", "--json", *arguments)
    finally:
        stop.set()
        customer.join()
    assert answer.returncode == 0, answer.stderr
    assert made
    return [done, *slow, *made], json.loads(answer.stdout)


def _restored(folder: Path, running: Service, **environment: str) -> Service:
    """An empty installation that takes the backup over."""
    home = folder.parent / "restored"
    home.mkdir()
    other = Service(home, environment)
    answer = other.manage("restore", str(folder), "--json")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert json.loads(answer.stdout)["violations"] == []
    # The demo's keys are in no backup; the test kept them.
    (home / "quickstart.json").write_text((running.folder / "quickstart.json").read_text(encoding="utf-8"))
    return other


def _drill(running: Service, folder: Path, **environment: str) -> None:
    ids, said = _backed_up_in_flight(running, folder)
    running.kill()
    other = _restored(folder, running, **environment)
    try:
        other.start()
        known = [each for each in ids if other.ask("GET", f"generations/{each}").status_code == 200]
        assert set(ids[:5]) <= set(known), "what was accepted before the backup is in it"
        ended = [other.end(each, seconds=120) for each in known]
        assert {each["status"] for each in ended} == {"succeeded"}, other.log
        wallet = other.ask("GET", "wallet").json()
        assert (wallet["available_micros"], wallet["held_micros"]) == (100_000_000 - PRICE * len(known), 0)
        image = ended[0]["outputs"][0]["url"]
        assert httpx2.get(image, trust_env=False).status_code == 200
        assert any(len(each["outputs"][0]["attempts"]) > 1 for each in ended), "nothing was in flight at the backup"
        assert said["file_count"] >= 1
        other.audit()
    finally:
        other.kill()


def test_a_backup_made_in_flight_becomes_a_service_that_ends_the_work(service: Any, tmp_path: Path) -> None:
    running = service(NBP_LEASE_SECONDS="3", NBP_WORKER_THREADS="8")
    _drill(running, tmp_path / "backup", NBP_LEASE_SECONDS="3")


@pytest.fixture
def databases() -> Iterator[list[str]]:
    """URLs of two PostgreSQL databases of the test's own."""
    url = os.environ.get("DATABASE_URL", "")
    if not os.environ.get("NBP_TEST_SERVICES") or not url.startswith("postgres"):
        pytest.skip("SKIPPED LOUDLY: needs PostgreSQL; run make test-services")
    names = [f"nbp_backup_{uuid.uuid4().hex[:12]}" for _ in range(2)]
    with psycopg.connect(url, autocommit=True) as connection:
        for name in names:
            connection.execute(f'CREATE DATABASE "{name}"')
    yield [urlsplit(url)._replace(path=f"/{name}").geturl() for name in names]
    with psycopg.connect(url, autocommit=True) as connection:
        for name in names:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.mark.services
def test_the_same_on_postgresql(service: Any, tmp_path: Path, databases: list[str]) -> None:
    running = service(NBP_LEASE_SECONDS="3", NBP_WORKER_THREADS="8", DATABASE_URL=databases[0])
    _drill(running, tmp_path / "backup", NBP_LEASE_SECONDS="3", DATABASE_URL=databases[1])


def test_secrets_are_taken_along_only_when_asked(service: Any, tmp_path: Path) -> None:
    running = service()
    running.create("a picture", image_size="1K")
    folder = tmp_path / "backup"
    assert running.manage("backup", str(folder)).returncode == 0
    texts = b"".join(path.read_bytes() for path in folder.glob("*.json"))
    secrets = json.loads((running.folder / "secrets.json").read_text(encoding="utf-8"))
    assert all(value.encode() not in texts for value in secrets.values())
    assert running.manage("backup", str(folder), "--with-secrets").returncode == 0
    assert json.loads((folder / "secrets.json").read_text(encoding="utf-8")) == secrets
    assert stat.S_IMODE((folder / "secrets.json").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_running_service_is_not_restored_over(service: Any, tmp_path: Path) -> None:
    running = service()
    folder = tmp_path / "backup"
    assert running.manage("backup", str(folder)).returncode == 0
    refused = running.manage("restore", str(folder), "--force")
    assert refused.returncode == 1
    assert "stop the service first" in refused.stderr
    running.kill()
