"""The whole service as a process of its own, as `make run` starts it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Service:
    """A running service, its quickstart note, and a client for its API."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.port = free_port()
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("GEMINI", "GOOGLE", "NBP_", "STRIPE_", "DATABASE", "REDIS", "CELERY", "DJANGO"))
        }
        self.environment |= {
            "NBP_ENV": "development",
            "NBP_DATA_DIR": str(folder),
            "PORT": str(self.port),
            "NBP_RETRY_BASE_SECONDS": "0.02",
        }
        self.environment |= environment
        self.arguments = self.environment.pop("NBP_SERVE_ARGUMENTS", "").split()
        self.process: subprocess.Popen[bytes] | None = None
        # Of the key that examples are run with.
        self.mode = "test"

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def note(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / "quickstart.json").read_text(encoding="utf-8")))

    def command(self) -> list[str]:
        return [sys.executable, str(ROOT / "manage.py"), "serve", *self.arguments]

    def start(self) -> Service:
        log = (self.folder / "log.txt").open("ab")
        self.process = subprocess.Popen(
            self.command(),
            env=self.environment,
            stdout=log,
            stderr=log,
            cwd=self.folder,
        )
        log.close()
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline:
            try:
                httpx2.get(f"{self.base_url}/api/v1/wallet", timeout=5, trust_env=False)
                return self
            except httpx2.TransportError:
                assert self.process.poll() is None, self.log
                time.sleep(0.1)
        raise AssertionError(self.log)

    @property
    def log(self) -> str:
        return (self.folder / "log.txt").read_text(encoding="utf-8")

    def ask(self, method: str, path: str, *, mode: str = "test", **options: Any) -> httpx2.Response:
        headers = {"authorization": f"Bearer {self.note[f'{mode}_key']}"} | options.pop("headers", {})
        return httpx2.request(
            method, f"{self.base_url}/api/v1/{path}", headers=headers, timeout=90, trust_env=False, **options
        )

    def create(
        self, prompt: str, *, wait: int = 60, mode: str = "test", headers: dict[str, str] | None = None, **fields: Any
    ) -> httpx2.Response:
        return self.ask(
            "POST",
            "generations",
            mode=mode,
            json={"prompt": prompt, **fields},
            headers={"prefer": f"wait={wait}"} | (headers or {}),
        )

    def end(self, generation_id: str, *, mode: str = "test", seconds: float = 60) -> dict[str, Any]:
        """The generation when it has finished."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            data = dict(self.ask("GET", f"generations/{generation_id}", mode=mode).json())
            if data["finished_at"]:
                return data
            time.sleep(0.1)
        raise AssertionError(f"{generation_id} did not finish: {data}\n{self.log[-3000:]}")

    def signal(self, number: int) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(timeout=60)

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(timeout=30)

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(ROOT / "manage.py"), *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def audit(self) -> None:
        done = self.manage("audit_ledger", "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        assert json.loads(done.stdout)["ok"] is True


def example_environment(running: Service, folder: Path) -> dict[str, str]:
    """What the examples of the docs are run with."""
    # Printed without it for readability; here an error status must fail the example.
    (folder / ".curlrc").write_text("fail-with-body\nmax-time = 60\n", encoding="utf-8")
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "no_proxy": "*",
        "NBP_BASE_URL": running.base_url,
        "NBP_API_KEY": running.note[f"{running.mode}_key"],
    }


@pytest.fixture(scope="module")
def shared_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Service]]:
    """One service for the tests of a module, which leave each other's rows alone."""
    started: list[Service] = []

    def start(**environment: str) -> Service:
        started.append(Service(tmp_path_factory.mktemp("service"), environment))
        return started[-1].start()

    yield start
    for each in started:
        each.kill()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """service(NAME="value", ...) starts one; it is killed after the test."""
    started: list[Service] = []

    def start(**environment: str) -> Service:
        folder = tmp_path / f"service{len(started)}"
        folder.mkdir()
        started.append(Service(folder, environment))
        return started[-1].start()

    yield start
    for each in started:
        each.kill()


SIGTERM, SIGINT, SIGKILL = signal.SIGTERM, signal.SIGINT, signal.SIGKILL
