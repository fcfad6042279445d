"""PostgreSQL and Redis of the suite's own: started on free loopback ports, broken at will, gone when the test is over.

They never touch a server that already runs on this machine.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from tests.live.conftest import free_port

START_SECONDS = 60


def skip_without(**binaries: str) -> None:
    """Skip, loudly, where services are not wanted or their programs are missing."""
    if not os.environ.get("NBP_TEST_SERVICES"):
        pytest.skip("SKIPPED LOUDLY: needs instances of its own; run make test-services")
    for name, path in binaries.items():
        if not path:
            pytest.skip(f"SKIPPED LOUDLY: {name} is not installed")


class Instance:
    """A server as a process of ours; `kill` is a power cut for it, `stop` an orderly end."""

    stop_signal = signal.SIGTERM

    def __init__(self) -> None:
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="nbp-instance-"))
        self.process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        raise NotImplementedError

    def is_answering(self) -> bool:
        raise NotImplementedError

    def options(self) -> dict[str, Any]:
        return {}

    def start(self) -> None:
        with (self.folder / "log.txt").open("ab") as log:
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=log, **self.options())
        deadline = time.monotonic() + START_SECONDS
        while not self.is_answering():
            assert self.process.poll() is None, (self.folder / "log.txt").read_text()
            assert time.monotonic() < deadline, "it does not answer"
            time.sleep(0.05)

    def _end(self, number: int) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(timeout=START_SECONDS)

    def stop(self) -> None:
        self._end(self.stop_signal)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        self.stop()
        self.start()

    def remove(self) -> None:
        """Stop it, whatever state it is in, and leave nothing behind."""
        try:
            self.stop()
        finally:
            self.kill()
            shutil.rmtree(self.folder, ignore_errors=True)


class Redis(Instance):
    """A Redis that keeps nothing on disk: a restart loses every message, as a flush does."""

    binary = shutil.which("redis-server") or ""

    def command(self) -> list[str]:
        where = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        return [self.binary, *where, "--save", "", "--appendonly", "no", "--maxclients", "2000"]

    def is_answering(self) -> bool:
        try:
            return bool(self.client().ping())
        except redis.RedisError:
            return False

    def url(self, number: int = 0) -> str:
        return f"redis://127.0.0.1:{self.port}/{number}"

    def client(self, number: int = 0) -> Any:
        return redis.Redis.from_url(self.url(number), socket_timeout=5, socket_connect_timeout=2)


def _postgresql_binary(name: str) -> str:
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}")) if Path("/usr/lib/postgresql").is_dir() else []
    return str(found[-1]) if found else shutil.which(name) or ""


class PostgreSQL(Instance):
    """A small PostgreSQL that does sync to disk. It refuses to run as root, so root runs it as `postgres`."""

    binary = _postgresql_binary("postgres")
    # Immediate shutdown: every connection is cut, and the next start recovers from the log.
    stop_signal = signal.SIGQUIT

    def __init__(self) -> None:
        super().__init__()
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")
        initialize = [_postgresql_binary("initdb"), "-D", str(self._data), "-U", "postgres", "-A", "trust", "--no-sync"]
        subprocess.run(initialize, check=True, capture_output=True, timeout=120, **self.options())

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def options(self) -> dict[str, Any]:
        if os.geteuid() != 0:
            return {"cwd": self.folder}
        return {"user": "postgres", "group": "postgres", "extra_groups": [], "cwd": self.folder}

    def command(self) -> list[str]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": self.folder,
            "max_connections": 200,
            "shared_buffers": "32MB",
            "fsync": "on",
        }
        chosen = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [self.binary, "-D", str(self._data), *chosen]

    def is_answering(self) -> bool:
        try:
            with self.connect():
                return True
        except psycopg.OperationalError:
            return False

    def connect(self, database: str = "postgres") -> Any:
        return psycopg.connect(self.url(database), autocommit=True, connect_timeout=2)

    def url(self, database: str = "postgres", *, port: int = 0) -> str:
        return f"postgres://postgres@127.0.0.1:{port or self.port}/{database}"

    def create_database(self) -> str:
        """A new empty database; its name."""
        name = f"nbp_{uuid.uuid4().hex[:12]}"
        with self.connect() as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return name


@contextmanager
def started(make: Callable[[], Instance]) -> Iterator[Any]:
    """An instance that runs inside the block and is removed after it, whatever happened to it meanwhile."""
    instance = make()
    try:
        instance.start()
        yield instance
    finally:
        instance.remove()
