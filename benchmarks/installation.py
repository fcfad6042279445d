"""The service as its operators run it, on databases of its own: one web and one worker process, or one for both."""

from __future__ import annotations

import json
import secrets
import shutil
import socket
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg

from benchmarks import databases
from benchmarks.load import Plan, Seen
from benchmarks.processes import Child, plain_environment, python, run, wait_until
from benchmarks.upstream import Upstream

_PROMPT = "A nano banana on a marble table, number {number}, studio light"
_EMAIL = "bench@example.com"
_START_SECONDS = 60.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Installation:
    """A running service with a funded account: `with Installation(upstream) as service: service.generate(...)`.

    `is_embedded` is `manage.py serve` alone, on SQLite; else web and worker are processes of their own, on PostgreSQL
    and Redis. Without `is_served` there is only the database. `settings` are environment variables on top of those
    that a large account needs.
    """

    def __init__(
        self, upstream: Upstream, *, is_embedded: bool = False, is_served: bool = True, **settings: str
    ) -> None:
        self.is_embedded = is_embedded
        self.folder = Path(tempfile.mkdtemp(prefix="nbp-bench-"))
        self.port = free_port()
        self.children: list[Child] = []
        self._upstream = upstream
        self._settings = settings
        self._is_served = is_served
        self._kept = ExitStack()
        self._number = 0

    def __enter__(self) -> Self:
        try:
            self._kept.callback(shutil.rmtree, self.folder, ignore_errors=True)
            self.environment = self._environment()
            self.manage("migrate", "--no-input")
            self.key = self._fund()
            if self._is_served:
                self._start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, Exception):
            for each in self.children:
                print(f"--- end of {each.log_path.name}\n{each.log_tail()}", file=sys.stderr)
        self._end()

    def _end(self) -> None:
        for each in reversed(self.children):
            each.stop()
        self._kept.close()

    def _environment(self) -> dict[str, str]:
        environment = plain_environment() | {
            "NBP_ENV": "production",
            "NBP_DATA_DIR": str(self.folder),
            "SECRET_KEY": secrets.token_urlsafe(48),
            "NBP_KEY_PEPPER": secrets.token_urlsafe(48),
            "NBP_LINK_KEY": secrets.token_urlsafe(48),
            "NBP_FIELD_KEYS": f"k1:{secrets.token_hex(32)}",
            "EMAIL_URL": "consolemail://",
            "ALLOWED_HOSTS": "127.0.0.1",
            "NBP_BASE_URL": f"http://127.0.0.1:{self.port}",
            "PORT": str(self.port),
            "GEMINI_API_KEY": "a-made-up-key",
            "GOOGLE_GEMINI_BASE_URL": self._upstream.base_url,
            "NBP_WORKER_THREADS": "1024",
            "NBP_ACCOUNT_RUNNING_CAP": "2000",
            "NBP_ACCOUNT_QUEUE_CAP": "100000",
            "NBP_REQUESTS_PER_MINUTE": "1000000",
            "NBP_LOG_LEVEL": "WARNING",
            # Heeded by what `benchmarks.tracing` puts on the path.
            "NBP_BENCH_TRACE": str(self.folder),
        }
        return environment | self._services() | self._settings

    def _services(self) -> dict[str, str]:
        """Each is said, so that a `.env` file beside `manage.py` cannot lead a benchmark elsewhere."""
        if self.is_embedded:
            database = f"sqlite:///{self.folder / 'bench.sqlite3'}"
            return {"DATABASE_URL": database, "REDIS_URL": "", "CELERY_BROKER_URL": "memory://localhost/"}
        redis_url, broker_url = self._kept.enter_context(databases.redis_databases())
        database = self._kept.enter_context(databases.database(databases.NAME))
        return {"DATABASE_URL": database, "REDIS_URL": redis_url, "CELERY_BROKER_URL": broker_url}

    def _fund(self) -> str:
        self.manage("create_account", "--email", _EMAIL, "--json")
        self.manage("grant_credit", "--account", _EMAIL, "--usd", "1000000", "--reason", "Benchmark", "--json")
        issued = self.manage("create_api_key", "--account", _EMAIL, "--mode", "live", "--name", "benchmark", "--json")
        return str(json.loads(issued)["key"])

    def _start(self) -> None:
        serve = ["manage.py", "serve", "--no-migrate"]
        self.web = self._child("web", python(*serve) if self.is_embedded else python(*serve, "--no-worker"))
        if not self.is_embedded:
            self.start_worker()
        wait_until(self._is_listening, children=self.children, seconds=_START_SECONDS, what="the service")
        self.generate(1, 1)

    def start_worker(self) -> Child:
        arguments = python("-m", "celery", "-A", "nbp_site", "worker", "--pool", "threads", "--loglevel", "WARNING")
        self.worker = self._child("worker", arguments)
        return self.worker

    def _child(self, name: str, arguments: list[str]) -> Child:
        child = Child(name, arguments, environment=self.environment, folder=self.folder)
        self.children.append(child)
        return child

    def _is_listening(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def manage(self, *arguments: str, seconds: float = 600) -> str:
        """Run a management command; answers its standard output."""
        return run(python("manage.py", *arguments), environment=self.environment, seconds=seconds)

    def ask(self, plan: Plan) -> Seen:
        """Let the load generator carry out a plan in a process of its own; raises with the answers that were bad."""
        told = json.dumps(asdict(plan))
        said = run(python("-m", "benchmarks.load"), environment=plain_environment(), stdin=told, seconds=3600)
        for each in self.children:
            each.check()
        return Seen(**json.loads(said))

    def plan(self, count: int, concurrency: int, *, wait: int = 120, **body: Any) -> Plan:
        """Creates of one image each, every prompt another one."""
        self._number += count
        fields = {"prompt": _PROMPT, "image_size": "1K", **body}
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        if wait:
            headers["Prefer"] = f"wait={wait}"
        return Plan(
            port=self.port,
            target="/api/v1/generations",
            headers=headers,
            body=json.dumps(fields),
            count=count,
            concurrency=concurrency,
            status=200 if wait else 202,
            expected='"status":"succeeded"' if wait else '"status":"queued"',
            first_number=self._number - count,
        )

    def generate(self, count: int, concurrency: int, **body: Any) -> Seen:
        """Create and wait; every one must succeed."""
        return all_good(self.ask(self.plan(count, concurrency, **body)), count)

    def takes(self, **body: Any) -> bool:
        """Whether the API takes a create with these fields."""
        return self.ask(self.plan(1, 1, **body)).good_count == 1

    def query(self, sql: str) -> Any:
        """The first value of a query on PostgreSQL."""
        with psycopg.connect(self.environment["DATABASE_URL"]) as connection:
            row = connection.execute(sql).fetchone()  # type: ignore[arg-type]
        return row[0] if row else None

    def settle(self, seconds: float = 60.0) -> int:
        """Wait until no hold is open; answers how many still are when the time is up."""
        deadline = time.monotonic() + seconds
        while found := int(self.query("SELECT count(*) FROM ledger_hold WHERE state = 'open'")):
            if time.monotonic() > deadline:
                break
            time.sleep(0.2)
        return found

    def audit(self, *, exempt: str = "") -> str:
        """`ok`, or RuntimeError with the broken invariants; one whose name begins with `exempt` may be broken."""
        said = run(python("manage.py", "audit_ledger", "--json"), environment=self.environment, may_fail=True)
        broken = Counter(each["invariant"] for each in json.loads(said)["violations"])
        named = {name: count for name, count in broken.items() if not exempt or not name.startswith(exempt)}
        if named:
            raise RuntimeError(f"the audit found broken invariants (rows by name): {named}")
        return "ok"


def all_good(seen: Seen, count: int) -> Seen:
    """The same, or RuntimeError with a few of the answers that were not good."""
    if seen.good_count != count:
        raise RuntimeError(f"{seen.good_count} of {count} were good: {seen.statuses} {seen.bad}")
    return seen
