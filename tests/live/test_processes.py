"""The grown-up form: web and workers as processes of their own, over PostgreSQL and Redis, or RabbitMQ."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from tests.services import is_open

pytestmark = [pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(240)]
ROOT = __file__.rsplit("/tests/", 1)[0]


@pytest.fixture
def database() -> Iterator[str]:
    """A PostgreSQL database of the test's own."""
    url = os.environ.get("DATABASE_URL", "")
    if not os.environ.get("NBP_TEST_SERVICES") or not url.startswith("postgres"):
        pytest.skip("SKIPPED LOUDLY: needs PostgreSQL and Redis; run make test-services")
    name = f"nbp_live_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    yield urlsplit(url)._replace(path=f"/{name}").geturl()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


class Workers:
    """Celery workers of a service, by their process ids."""

    def __init__(self, running: Any) -> None:
        self.running = running
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        log = (self.running.folder / "worker.txt").open("ab")
        command = [
            sys.executable,
            "-m",
            "celery",
            "-A",
            "nbp_site",
            "worker",
            "--pool",
            "threads",
            "--concurrency",
            "16",
            "--loglevel",
            "WARNING",
        ]
        environment = self.running.environment | {"PYTHONPATH": ROOT}
        self.processes.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=ROOT))
        log.close()

    def kill(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait(timeout=30)
        self.processes.clear()

    def stop(self) -> int:
        process = self.processes.pop()
        process.send_signal(signal.SIGTERM)
        return process.wait(timeout=60)


@pytest.fixture
def workers() -> Iterator[Any]:
    made: list[Workers] = []

    def of(running: Any) -> Workers:
        made.append(Workers(running))
        made[-1].start()
        return made[-1]

    yield of
    for each in made:
        each.kill()


def _web(service: Any, database: str, broker: str) -> Any:
    return service(
        DATABASE_URL=database,
        REDIS_URL=os.environ["REDIS_URL"],
        CELERY_BROKER_URL=broker,
        NBP_LEASE_SECONDS="3",
        NBP_SERVE_ARGUMENTS="--no-worker",
    )


def test_postgresql_and_redis(service: Any, workers: Any, database: str) -> None:
    broker = os.environ["CELERY_BROKER_URL"]
    running = _web(service, database, broker)
    crew = workers(running)
    answer = running.create("A nano banana", image_size="1K")
    assert (answer.status_code, answer.json()["status"]) == (200, "succeeded"), running.log
    ids = [running.create("sandbox:slow:3 fine", wait=0, image_size="1K").json()["id"] for _ in range(8)]
    time.sleep(1.5)
    crew.kill()
    crew.start()
    done = [running.end(each) for each in ids]
    assert [each["status"] for each in done] == ["succeeded"] * 8
    assert crew.stop() == 0
    running.audit()


def test_prompts_are_accepted_while_the_broker_is_down(service: Any, workers: Any, database: str) -> None:
    running = _web(service, database, "redis://127.0.0.1:9/0")
    made = running.create("patience", wait=0, image_size="1K")
    assert made.status_code == 202
    running.environment["CELERY_BROKER_URL"] = os.environ["CELERY_BROKER_URL"]
    workers(running)
    assert running.end(made.json()["id"])["status"] == "succeeded"
    running.audit()


def test_rabbitmq_smoke(service: Any, workers: Any, database: str) -> None:
    broker = os.environ.get("NBP_TEST_RABBITMQ_URL", "")
    if not broker or not is_open(broker):
        pytest.skip("SKIPPED LOUDLY: no RabbitMQ listens at NBP_TEST_RABBITMQ_URL")
    running = _web(service, database, broker)
    workers(running)
    assert running.create("over RabbitMQ", image_size="1K").json()["status"] == "succeeded", running.log
    running.audit()
