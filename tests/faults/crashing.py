"""Runs the service, or a worker, in a process that has been told how to fail. For tests only.

`python -m tests.faults.crashing serve ...` or `... celery -A nbp_site worker ...`, with what shall go wrong in the
environment: FAULT_CRASH_AT and FAULT_FREEZE_AT (`name of a crash point:how many times it is reached before`),
FAULT_NO_CHARGES (how many inserts of a charge fail), FAULT_CLOCK_SECONDS, FAULT_VISIBILITY_SECONDS, FAULT_QUEUE.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

VARIABLES = (
    "FAULT_CRASH_AT",
    "FAULT_FREEZE_AT",
    "FAULT_NO_CHARGES",
    "FAULT_CLOCK_SECONDS",
    "FAULT_VISIBILITY_SECONDS",
    "FAULT_QUEUE",
)


# Stops its parent while it holds the one write lock of a SQLite database, so that no thread in there sleeps with it.
_FREEZE = """
import os, signal, sqlite3, sys
with sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None) as database:
    database.execute("BEGIN IMMEDIATE")
    os.kill(os.getppid(), signal.SIGSTOP)
    database.execute("ROLLBACK")
"""


def kill() -> None:
    """Die at once."""
    os.kill(os.getpid(), signal.SIGKILL)


def freeze() -> None:
    """Sleep until somebody sends SIGCONT."""
    from django.db import connection

    if connection.vendor == "sqlite":
        subprocess.run([sys.executable, "-c", _FREEZE, str(connection.settings_dict["NAME"])], check=True)
    else:
        os.kill(os.getpid(), signal.SIGSTOP)


def at(place: str, do: Callable[[], None]) -> Callable[[str], None]:
    """A hook that does something when this process comes to a crash point for the n-th time."""
    name, _, count = place.partition(":")
    reached: Counter[str] = Counter()
    lock = threading.Lock()

    def hook(point: str) -> None:
        if point != name:
            return
        with lock:
            reached[point] += 1
            is_now = reached[point] == int(count or 1)
        if is_now:
            do()

    return hook


def refuse_charges(count: int) -> None:
    """Let the first inserts of a charge fail, on whatever connection they come."""
    from django.db import IntegrityError
    from django.db.backends.signals import connection_created

    left = [count]

    def refuse(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if left[0] and sql.startswith('INSERT INTO "generation_charge"'):
            left[0] -= 1
            raise IntegrityError("a charge was refused by a test")
        return execute(sql, params, many, context)

    def wrap(connection: Any, **_: Any) -> None:
        if refuse not in connection.execute_wrappers:
            connection.execute_wrappers.append(refuse)

    connection_created.connect(wrap, weak=False)


def shift_clock(seconds: float) -> None:
    """Every clock that Python code reads is wrong by so much; the database's is not."""
    import time_machine

    time_machine.travel(datetime.now(UTC) + timedelta(seconds=seconds), tick=True).start()


def change_queue(*, visibility_seconds: int, name: str) -> None:
    """Another queue, or a broker that gives a message away again while its task still runs."""
    from nbp_site.celery import app

    if name:
        app.conf.task_default_queue = name
    if visibility_seconds:
        app.conf.task_acks_late = True
        app.conf.broker_transport_options = app.conf.broker_transport_options | {
            "visibility_timeout": visibility_seconds,
            "unacked_restore_interval": 1,
            "unacked_restore_throttle": 1,
        }


def prepare(wanted: dict[str, str]) -> None:
    """Lay the traps that the environment asks for."""
    from accounts import crash_points

    if "FAULT_CRASH_AT" in wanted:
        crash_points.watch(at(wanted["FAULT_CRASH_AT"], kill))
    if "FAULT_FREEZE_AT" in wanted:
        crash_points.watch(at(wanted["FAULT_FREEZE_AT"], freeze))
    if "FAULT_NO_CHARGES" in wanted:
        refuse_charges(int(wanted["FAULT_NO_CHARGES"]))
    if "FAULT_CLOCK_SECONDS" in wanted:
        shift_clock(float(wanted["FAULT_CLOCK_SECONDS"]))
    visibility, queue = wanted.get("FAULT_VISIBILITY_SECONDS"), wanted.get("FAULT_QUEUE", "")
    if visibility or queue:
        change_queue(visibility_seconds=int(visibility or 0), name=queue)


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "nbp_site.settings")
    prepare({name: os.environ[name] for name in VARIABLES if name in os.environ})
    if sys.argv[1] == "celery":
        from celery.__main__ import main as celery

        sys.argv = sys.argv[1:]
        celery()
        return
    from django.core.management import execute_from_command_line

    execute_from_command_line(["manage.py", *sys.argv[1:]])


if __name__ == "__main__":
    main()
