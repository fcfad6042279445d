"""A worker's probe: its row advances only when a message came all the way, and deafness is told from a broker's rest."""

from __future__ import annotations

import io
import json
import logging
import os
import socket
import time
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from celery import current_app
from django.core.management import call_command
from django.db.models.functions import Now
from kombu.exceptions import OperationalError

from nbp_site.celery import app
from nbp_site.models import WorkerProbe
from nbp_site.operating import probe_queue, probing
from nbp_site.operating.probe_queue import TASKS, own_name
from nbp_site.operating.tasks import probe as probe_task
from nbp_site.sweeper import Sweeper

pytestmark = pytest.mark.django_db(transaction=True)


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Probes that a broker took."""
    found: list[dict[str, Any]] = []
    monkeypatch.setattr(current_app, "send_task", lambda name, **options: found.append({"name": name} | options))
    return found


@pytest.fixture
def own(clock: Clock, sent: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[probing.Probe]:
    """This process's probe."""
    made = probing.Probe(clock=clock)
    monkeypatch.setattr(probing, "PROBE", made)
    yield made
    TASKS.running.clear()


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """The process would have ended."""
    found: list[bool] = []
    monkeypatch.setattr(probing, "end_process", lambda: found.append(True))
    return found


def _row() -> WorkerProbe:
    return WorkerProbe.objects.get(pk=own_name())


def test_a_probe_goes_to_the_processes_own_queue(own: probing.Probe, sent: list[dict[str, Any]]) -> None:
    own.step()
    [message] = sent
    assert message["name"] == "nbp_site.probe" == probe_task.name
    assert message["kwargs"] == {"worker": own_name()}
    assert message["queue"].name == f"nbp.probe.{own_name()}"
    assert message["retry"] is False
    assert "nbp_site.probe" in app.tasks


def test_only_a_probe_that_came_back_is_a_beat(own: probing.Probe, clock: Clock) -> None:
    own.step()
    assert _row().beaten_at is None
    assert (_row().pid, _row().host) == (os.getpid(), socket.gethostname())
    probe_task(worker="somebody.else")
    assert _row().beaten_at is None
    probe_task(worker=own_name())
    first = _row().beaten_at
    assert first is not None
    WorkerProbe.objects.update(seen_at=Now() - timedelta(minutes=1), beaten_at=Now() - timedelta(minutes=1))
    clock.now += 15
    own.step()
    row = _row()
    assert row.seen_at > row.beaten_at


def test_probes_are_sent_four_times_within_the_patience(
    own: probing.Probe, clock: Clock, sent: list[dict[str, Any]]
) -> None:
    for _ in range(120):
        own.step()
        clock.now += 0.5
    assert len(sent) == 4


def test_a_deaf_worker_says_so_and_ends_itself_once(
    own: probing.Probe, clock: Clock, settings: Any, ended: list[bool], caplog: pytest.LogCaptureFixture
) -> None:
    settings.NBP_WORKER_STALLED_EXIT_SECONDS = 120
    for _ in range(4):
        own.step()
        clock.now += 15
    assert not own.is_stalled
    assert not caplog.records
    clock.now += 1
    own.step()
    assert _row().is_stalled
    assert "no message has reached this worker for 61 s" in caplog.text
    assert ended == []
    for _ in range(8):
        clock.now += 15
        own.step()
    assert ended == [True]


def test_a_deaf_worker_stays_where_nobody_would_start_it_again(
    own: probing.Probe, clock: Clock, settings: Any, ended: list[bool]
) -> None:
    settings.NBP_WORKER_STALLED_EXIT_SECONDS = 0
    for _ in range(50):
        clock.now += 15
        own.step()
    assert own.is_stalled
    assert ended == []


def test_a_worker_that_hears_again_is_well_again(own: probing.Probe, clock: Clock) -> None:
    for _ in range(6):
        own.step()
        clock.now += 15
    assert own.is_stalled
    probe_task(worker=own_name())
    own.step()
    clock.now += 15
    own.step()
    assert not own.is_stalled
    assert not _row().is_stalled


@pytest.mark.parametrize("error", [OperationalError("down"), ConnectionRefusedError()], ids=["kombu", "socket"])
def test_a_broker_that_is_down_does_not_make_a_worker_deaf(
    own: probing.Probe,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    ended: list[bool],
    settings: Any,
) -> None:
    settings.NBP_WORKER_STALLED_EXIT_SECONDS = 120
    own.step()

    def refuse(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(current_app, "send_task", refuse)
    for _ in range(50):
        clock.now += 15
        own.step()
    assert not own.is_stalled
    assert ended == []
    assert _row().beaten_at is None


def test_a_worker_with_every_thread_at_work_is_not_deaf(
    own: probing.Probe, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TASKS, "capacity", 2)
    TASKS.began(task_id="a")
    own.step()
    assert _row().beaten_at is None
    TASKS.began(task_id="b")
    for _ in range(10):
        clock.now += 15
        own.step()
    assert not own.is_stalled
    assert _row().beaten_at is not None
    TASKS.ended(task_id="b")
    for _ in range(6):
        clock.now += 15
        own.step()
    assert own.is_stalled


def test_tasks_are_counted_while_they_run(alice: Any) -> None:
    during: list[int] = []

    @app.task(name="test.counted")
    def counted() -> None:
        during.append(len(TASKS.running))

    counted.apply()
    assert (during, len(TASKS.running)) == ([1], 0)
    del app.tasks["test.counted"]


def test_a_sweeper_that_stops_takes_its_row_along(own: probing.Probe, settings: Any) -> None:
    sweeper = Sweeper()
    sweeper.start()
    for _ in range(200):
        if WorkerProbe.objects.exists():
            break
        time.sleep(0.05)
    assert WorkerProbe.objects.exists()
    sweeper.stop()
    assert not WorkerProbe.objects.exists()


def test_workers_that_are_gone_are_forgotten(own: probing.Probe, monkeypatch: pytest.MonkeyPatch) -> None:
    forgotten: list[str] = []
    monkeypatch.setattr(probe_queue, "forget", lambda name, url: forgotten.append(name))
    own.step()
    gone = {"host": "h", "pid": 1, "started_at": Now(), "seen_at": Now() - timedelta(hours=2)}
    WorkerProbe.objects.create(name="old", **gone)
    probing.forget_the_gone()
    assert forgotten == ["old"]
    assert [row.pk for row in WorkerProbe.objects.all()] == [own_name()]


def test_what_waits_for_a_dead_worker_is_dropped(settings: Any) -> None:
    name = f"dead.{uuid.uuid4()}"
    app.send_task("nbp_site.probe", kwargs={"worker": name}, queue=probe_queue.queue_of(name))
    with app.connection_for_write() as connection:
        waiting = connection.default_channel._size(probe_queue.queue_of(name).name)
        probe_queue.forget(name, settings.NBP_BROKER_URL)
        left = connection.default_channel._size(probe_queue.queue_of(name).name)
    assert (waiting, left) == (1, 0)


# --- manage.py check_worker --------------------------------------------------------------------------------------


def _check(*arguments: str) -> tuple[int, str]:
    out, code = io.StringIO(), 0
    try:
        call_command("check_worker", *arguments, stdout=out)
    except SystemExit as error:
        code = int(error.code or 0)
    return code, out.getvalue().strip()


def test_a_machine_without_a_worker_fails_the_check() -> None:
    assert _check() == (1, "No worker lives on this machine.")


def test_the_check_passes_when_a_message_has_come(own: probing.Probe, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    own.step()
    assert _check() == (1, f"{os.getpid()}: no message reaches it")
    probe_task(worker=own_name())
    assert _check() == (0, f"{os.getpid()}: messages reach it")
    assert _check("--pid", str(os.getpid()))[0] == 0
    assert _check("--pid", "1")[0] == 1
    WorkerProbe.objects.update(beaten_at=Now() - timedelta(seconds=61))
    code, answer = _check("--json")
    assert code == 1
    assert json.loads(answer) == {"is_ok": False, "workers": [{"pid": os.getpid(), "is_reached": False}]}


def test_one_deaf_worker_of_two_fails_the_check(own: probing.Probe) -> None:
    own.step()
    probe_task(worker=own_name())
    other = {"pid": 1, "started_at": Now(), "seen_at": Now()}
    WorkerProbe.objects.create(name="elsewhere", host="another-machine", **other)
    assert _check()[0] == 0
    WorkerProbe.objects.create(name="deaf", host=socket.gethostname(), **other)
    assert _check()[0] == 1
