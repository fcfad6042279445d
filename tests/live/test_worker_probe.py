"""Workers as processes of their own, over a real broker: well, deaf, and gone."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.live.conftest import ROOT, Service

pytestmark = [pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(180)]
STALE = 4.0
Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def home(tmp_path: Path) -> Service:
    """An installation with tables and a broker, and nothing that runs."""
    broker = os.environ.get("CELERY_BROKER_URL", "")
    if not os.environ.get("NBP_TEST_SERVICES") or not broker.startswith("redis"):
        pytest.skip("SKIPPED LOUDLY: needs Redis as a broker; run make test-services")
    folder = tmp_path / "data"
    folder.mkdir()
    found = Service(
        folder,
        {
            "CELERY_BROKER_URL": broker,
            "NBP_WORKER_STALE_SECONDS": str(STALE),
            "NBP_SHUTDOWN_GRACE_SECONDS": "1",
            "NBP_LOG_FORMAT": "json",
        },
    )
    done = found.manage("migrate", "--verbosity", "0")
    assert done.returncode == 0, done.stderr
    return found


@pytest.fixture
def start(home: Service) -> Iterator[Start]:
    """start("-m", "celery", ...) starts a worker; it is killed after the test."""
    started: list[subprocess.Popen[bytes]] = []

    def run(*arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        with (home.folder / "log.txt").open("ab") as log:
            command = [sys.executable, *arguments]
            everything = home.environment | {"PYTHONPATH": str(ROOT)} | environment
            started.append(subprocess.Popen(command, env=everything, stdout=log, stderr=log, cwd=ROOT))
        return started[-1]

    yield run
    for each in started:
        each.kill()
        each.wait(timeout=30)


WELL = ("-m", "celery", "-A", "nbp_site", "worker", "--pool", "threads", "--concurrency", "4", "--loglevel", "WARNING")


def _until(look: Callable[[], bool], home: Service, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < deadline, home.log
        time.sleep(0.2)


def _beat_age(home: Service, process: subprocess.Popen[bytes]) -> float:
    """Seconds since a message last reached a worker; read from its row, because commands take their time to start."""
    query = "SELECT (julianday('now') - julianday(beaten_at)) * 86400 FROM nbp_site_workerprobe WHERE pid = ?"
    with contextlib.closing(sqlite3.connect(home.folder / "nbp.sqlite3", timeout=20)) as database:
        row = database.execute(query, (process.pid,)).fetchone()
    return float("inf") if row is None or row[0] is None else float(row[0])


def test_a_worker_that_hears_passes_its_check_until_it_is_gone(home: Service, start: Start) -> None:
    assert home.manage("check_worker").returncode == 1
    first, second = start(*WELL), start(*WELL)
    # Two workers share the work's queue; each hears its own probes.
    _until(lambda: _beat_age(home, first) < STALE and _beat_age(home, second) < STALE, home)
    done = home.manage("check_worker", "--json")
    found = {each["pid"]: each["is_reached"] for each in json.loads(done.stdout)["workers"]}
    assert (done.returncode, found) == (0, {first.pid: True, second.pid: True})
    for each in (first, second):
        each.send_signal(signal.SIGTERM)
        assert each.wait(timeout=30) == 0
    done = home.manage("check_worker", "--json")
    assert (done.returncode, json.loads(done.stdout)["workers"]) == (1, [])


def test_a_deaf_worker_fails_its_check_although_it_lives(home: Service, start: Start) -> None:
    deaf, well = start("-m", "tests.live.deaf_worker", "2"), start(*WELL)
    _until(lambda: '"nbp_site.operating.probing", "message": "no message has reached' in home.log, home)
    assert deaf.poll() is None
    _until(lambda: _beat_age(home, well) < 1, home)
    done = home.manage("check_worker", "--json")
    found = {each["pid"]: each["is_reached"] for each in json.loads(done.stdout)["workers"]}
    assert (done.returncode, found) == (1, {deaf.pid: False, well.pid: True})


def test_a_deaf_worker_ends_itself(home: Service, start: Start) -> None:
    deaf = start("-m", "tests.live.deaf_worker", "1", NBP_WORKER_STALLED_EXIT_SECONDS="6")
    assert deaf.wait(timeout=90) in (0, 70)
    assert "its supervisor starts it again" in home.log


def test_a_worker_outlives_its_brokers_restart(home: Service, start: Start) -> None:
    """Connections cut by the broker: probes go through the new ones, and nobody ends anything."""
    worker = start(*WELL, NBP_WORKER_STALLED_EXIT_SECONDS="30")
    _until(lambda: _beat_age(home, worker) < STALE, home)
    broker: Any = redis.Redis.from_url(os.environ["CELERY_BROKER_URL"])
    database = str(broker.connection_pool.connection_kwargs.get("db", 0))
    own = str(broker.client_id())
    cut = [each["id"] for each in broker.client_list() if each["db"] == database and each["id"] != own]
    for client_id in cut:
        broker.client_kill_filter(_id=client_id)
    broker.close()
    assert cut
    time.sleep(STALE)
    _until(lambda: _beat_age(home, worker) < STALE, home)
    assert worker.poll() is None
