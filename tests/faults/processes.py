"""Services as processes that can be told to fail: started with a trap, killed, frozen, watched, asked for their rows."""

from __future__ import annotations

import base64
import contextlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import httpx2

from tests import images
from tests.faults.crashing import VARIABLES
from tests.faults.raw_rows import RawRows, files_below
from tests.live.conftest import ROOT, Service

LAUNCHER = [sys.executable, "-m", "tests.faults.crashing"]
PRICE = 147_400


def until(condition: Callable[[], Any], *, seconds: float = 60, what: str = "") -> Any:
    """The first true answer of `condition`, or a failure after so many seconds."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} seconds: {what or condition}"
        time.sleep(0.05)
    return answer


def is_frozen(process: subprocess.Popen[bytes]) -> bool:
    """Whether a SIGSTOP has taken effect."""
    shown = subprocess.run(["ps", "-o", "stat=", "-p", str(process.pid)], capture_output=True, text=True, check=False)
    return shown.stdout.strip().startswith("T")


def is_dead_by_kill(process: subprocess.Popen[bytes], *, seconds: float = 60) -> bool:
    return process.wait(timeout=seconds) == -signal.SIGKILL


def end(process: subprocess.Popen[bytes] | None) -> None:
    """Kill a process that may be frozen or gone."""
    if process is not None and process.poll() is None:
        process.kill()
        process.wait(timeout=30)


class Site(Service):
    """A service, with its worker inside or without one."""

    def start(self, **faults: str) -> Self:
        """Start it; faults are the launcher's variables."""
        for name in VARIABLES:
            self.environment.pop(name, None)
        self.environment |= {"PYTHONPATH": str(ROOT)} | faults
        super().start()
        return self

    def command(self) -> list[str]:
        return [*LAUNCHER, "serve", *self.arguments]

    @property
    def rows(self) -> RawRows:
        return RawRows(self.environment.get("DATABASE_URL") or str(self.folder / "nbp.sqlite3"))

    @property
    def media(self) -> Path:
        return Path(self.environment.get("NBP_MEDIA_ROOT") or self.folder / "media")

    @property
    def spool(self) -> Path:
        return self.folder / "spool"

    def strays(self) -> set[str]:
        """Stored files that no row knows of."""
        return files_below(self.media) - self.rows.stored_names()

    def ask_for(
        self, prompt: str, *, key: str = "", wait: int = 0, has_reference: bool = False, **fields: Any
    ) -> httpx2.Response:
        """Ask for one live picture of the smallest size.

        With a reference, the output is claimed in a transaction of its own, before the reference is fetched.
        """
        if has_reference:
            fields["references"] = [{"data": base64.b64encode(images.png()).decode()}]
        headers = {"idempotency-key": key} if key else {}
        return self.create(prompt, mode="live", wait=wait, headers=headers, image_size="1K", **fields)

    def accepted(self, prompt: str, **options: Any) -> str:
        """The id of a prompt that must be accepted."""
        answer = self.ask_for(prompt, **options)
        assert answer.status_code in (200, 202), f"{answer.text}\n{self.log[-3000:]}"
        return str(answer.json()["id"])

    def ended(self, generation_id: str, *, seconds: float = 90) -> dict[str, Any]:
        return self.end(generation_id, mode="live", seconds=seconds)

    def unfinished_count(self) -> int:
        states = "'queued', 'leased', 'sent', 'received'"
        return int(self.rows.one(f"SELECT count(*) FROM generation_output WHERE state IN ({states})"))

    def all_ended(self, *, seconds: float = 120) -> None:
        """Wait until no output is unfinished, by the rows."""
        until(lambda: not self.unfinished_count(), seconds=seconds, what="every prompt has ended")

    def grant(self, dollars: int) -> None:
        """Enough money for many live pictures."""
        account = ("--account", str(self.note["email"]))
        done = self.manage("grant_credit", *account, "--mode", "live", "--usd", str(dollars), "--reason", "faults")
        assert done.returncode == 0, done.stderr

    def prove(self) -> None:
        """Everything has ended as it must: by the rows, and by the service's own audit."""
        assert self.rows.faults() == []
        self.audit()


class Worker:
    """A Celery worker of a site, a process of its own."""

    def __init__(self, site: Site, *, number: int, **faults: str) -> None:
        self.log_file = site.folder / f"worker{number}.txt"
        clean = {name: value for name, value in site.environment.items() if name not in VARIABLES}
        environment = clean | {"PYTHONPATH": str(ROOT)} | faults
        pool = ("--pool", "threads", "--concurrency", "64")
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [*LAUNCHER, "celery", "-A", "nbp_site", "worker", *pool, "--loglevel", "INFO", "--without-gossip"],
                env=environment,
                stdout=log,
                stderr=log,
                cwd=site.folder,
            )

    @property
    def log(self) -> str:
        return self.log_file.read_text(encoding="utf-8")

    def ready(self) -> Worker:
        """Wait until it takes messages."""

        def is_ready() -> bool:
            assert self.process.poll() is None, self.log
            return " ready." in self.log

        until(is_ready, what="the worker is ready")
        return self

    def signal(self, number: int) -> None:
        self.process.send_signal(number)


class House:
    """A service in one of its two forms, and how to break it. `victim` is the process that the trap is in."""

    is_embedded = True

    def __init__(self, site: Site, **everywhere: str) -> None:
        """`everywhere`: traps of every process."""
        self.site = site
        self.everywhere = everywhere
        self.workers: list[Worker] = []
        self._worker_count = 0

    def start(self, **faults: str) -> subprocess.Popen[bytes]:
        """Start what is not running, with the trap where it belongs; answers the process it is in."""
        raise NotImplementedError

    def second(self, **faults: str) -> subprocess.Popen[bytes]:
        """One more process that runs prompts, over the same rows."""
        raise NotImplementedError

    def dismiss(self) -> None:
        """Kill every process that runs prompts."""
        for worker in self.workers:
            end(worker.process)
        self.workers.clear()

    def stop(self) -> None:
        """Kill every process of it."""
        self.dismiss()
        end(self.site.process)


class Embedded(House):
    """One process over SQLite."""

    def __init__(self, site: Site, **everywhere: str) -> None:
        super().__init__(site, **everywhere)
        self.others: list[Site] = []

    def start(self, **faults: str) -> subprocess.Popen[bytes]:
        end(self.site.process)
        self.site.start(**self.everywhere | faults)
        assert self.site.process is not None
        return self.site.process

    def second(self, **faults: str) -> subprocess.Popen[bytes]:
        other = Site(self.site.folder, {})
        other.environment = self.site.environment | {"PORT": str(other.port)}
        other.start(**self.everywhere | faults)
        self.others.append(other)
        assert other.process is not None
        return other.process

    def dismiss(self) -> None:
        end(self.site.process)
        for other in self.others:
            end(other.process)
        self.others.clear()


class GrownUp(House):
    """A web process and workers over PostgreSQL and Redis."""

    is_embedded = False

    def start(self, **faults: str) -> subprocess.Popen[bytes]:
        is_webs = faults.get("FAULT_CRASH_AT", "").startswith("accept.")
        if self.site.process is None or self.site.process.poll() is not None or is_webs:
            end(self.site.process)
            self.site.start(**self.everywhere | (faults if is_webs else {}))
        self.dismiss()
        worker = self.worker(**({} if is_webs else faults))
        assert self.site.process is not None
        return self.site.process if is_webs else worker.process

    def worker(self, **faults: str) -> Worker:
        self._worker_count += 1
        self.workers.append(Worker(self.site, number=self._worker_count, **self.everywhere | faults))
        return self.workers[-1].ready()

    def second(self, **faults: str) -> subprocess.Popen[bytes]:
        return self.worker(**faults).process

    def supervise(self) -> None:
        """What a supervisor does: a worker that has left is started again."""
        for worker in [each for each in self.workers if each.process.poll() is not None]:
            self.workers.remove(worker)
            self.worker()


def in_threads(count: int, work: Callable[[int], Any]) -> list[Any]:
    """`work(0)` to `work(count - 1)` at once; their answers, in that order. What one raises is its answer."""
    answers: list[Any] = [None] * count

    def run(place: int) -> None:
        try:
            answers[place] = work(place)
        except Exception as error:
            answers[place] = error

    threads = [threading.Thread(target=run, args=(place,), daemon=True) for place in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


@contextlib.contextmanager
def in_background(work: Callable[[], Any]) -> Iterator[list[Any]]:
    """Do something while the block runs; its answer, or what it raised, is in the list after the block."""
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.extend(in_threads(1, lambda _: work())), daemon=True)
    thread.start()
    yield answers
    thread.join(timeout=120)


def environment_of(fake_url: str, **more: str) -> dict[str, str]:
    """A service with a live channel to a fake upstream, and leases that end soon."""
    chosen = {"GEMINI_API_KEY": "a-made-up-key", "GOOGLE_GEMINI_BASE_URL": fake_url, "NBP_LEASE_SECONDS": "4"}
    return chosen | {"NBP_REQUESTS_PER_MINUTE": "100000"} | more
