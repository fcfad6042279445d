"""Child processes of a benchmark: started, watched and ended by id; nothing else on the machine is touched."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from benchmarks.profiles import Profile

ROOT = Path(__file__).resolve().parent.parent
_MEGABYTE = 1_000_000
_SAMPLE_SECONDS = 0.1
_TERM_SECONDS = 20.0
_SAID_CHARACTERS = 4000


class Child:
    """One process with its log, in a session of its own, so that a Ctrl-C reaches it through `stop` only."""

    def __init__(self, name: str, arguments: Sequence[str], *, environment: Mapping[str, str], folder: Path) -> None:
        self.name = name
        self.log_path = folder / f"{name}.log"
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                list(arguments), env=dict(environment), cwd=ROOT, stdout=log, stderr=log, start_new_session=True
            )
        self._watched = psutil.Process(self._process.pid)

    @property
    def pid(self) -> int:
        return self._process.pid

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def check(self) -> None:
        """Raise with the end of the log if the process has died."""
        if not self.is_alive():
            raise RuntimeError(f"{self.name} ended with {self._process.returncode}:\n{self.log_tail()}")

    def log_tail(self, count: int = 3000) -> str:
        return self.log_path.read_text(encoding="utf-8", errors="replace")[-count:]

    def cpu_seconds(self) -> float:
        """User and system time of all threads so far, ended ones included."""
        times = self._watched.cpu_times()
        return float(times.user + times.system)

    def rss_megabytes(self) -> float:
        """Resident memory of the process and its children; pages shared between processes count in each."""
        family = [self._watched, *self._watched.children(recursive=True)]
        return sum(_rss(each) for each in family) / _MEGABYTE

    def thread_count(self) -> int:
        return int(self._watched.num_threads())

    def stop(self) -> None:
        """SIGTERM, patience, SIGKILL."""
        if not self.is_alive():
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(timeout=_TERM_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _rss(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


class MemoryWatch:
    """Samples the resident memory of children ten times a second: `with MemoryWatch([...]) as watch: ...`.

    `peak` is the largest sum seen at one moment, `peaks` each child's own, `before` the sum at the start; megabytes.
    """

    def __init__(self, children: Sequence[Child]) -> None:
        self._children = children
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory-watch", daemon=True)
        self.before = self.peak = 0.0
        self.peaks: dict[str, float] = {}

    def __enter__(self) -> Self:
        self._sample()
        self.before = self.peak
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ending.wait(_SAMPLE_SECONDS):
            self._sample()

    def _sample(self) -> None:
        now = {each.name: each.rss_megabytes() for each in self._children if each.is_alive()}
        self.peak = max(self.peak, sum(now.values()))
        for name, megabytes in now.items():
            self.peaks[name] = max(self.peaks.get(name, 0.0), megabytes)


class CpuWatch:
    """CPU milliseconds that children spend inside the block, by name."""

    def __init__(self, children: Sequence[Child]) -> None:
        self._children = children
        self.milliseconds: dict[str, float] = {}

    def __enter__(self) -> Self:
        self._profile = Profile([(each.name, each.pid) for each in self._children])
        self._before = {each.name: each.cpu_seconds() for each in self._children}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for each in self._children:
            self.milliseconds[each.name] = (each.cpu_seconds() - self._before[each.name]) * 1000
        self._profile.stop()

    def per(self, count: int) -> dict[str, float]:
        """Milliseconds per generation, by child, and their sum as `total`."""
        shares = {name: round(spent / count, 2) for name, spent in self.milliseconds.items()}
        return {**shares, "total": round(sum(self.milliseconds.values()) / count, 2)}


def run(
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str],
    stdin: str = "",
    seconds: float = 600,
    may_fail: bool = False,
    profiled_as: str = "",
) -> str:
    """Run a command to its end and answer its standard output; raises RuntimeError with its words if it fails.

    With `profiled_as`, its functions go into the profile of that name, where profiles are asked for.
    """
    with subprocess.Popen(
        list(arguments),
        env=dict(environment),
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        profile = Profile([(profiled_as, process.pid)] if profiled_as else [])
        try:
            output, errors = process.communicate(stdin, timeout=seconds)
        except BaseException:
            process.kill()
            raise
        finally:
            profile.stop()
    if process.returncode and not may_fail:
        said = f"{output}\n{errors}"[-_SAID_CHARACTERS:]
        raise RuntimeError(f"{' '.join(arguments)[:200]} ended with {process.returncode}:\n{said}")
    return output


def python(*arguments: str) -> list[str]:
    """This interpreter with arguments."""
    return [sys.executable, *arguments]


def plain_environment() -> dict[str, str]:
    """The shell's environment without anything that would configure the service."""
    ours = ("NBP_", "GEMINI", "GOOGLE", "DATABASE", "REDIS", "CELERY", "DJANGO", "ALLOWED_HOSTS", "SECURE_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return kept | {"PYTHONDONTWRITEBYTECODE": os.environ.get("PYTHONDONTWRITEBYTECODE", "")}


def wait_until(is_ready: Any, *, children: Sequence[Child], seconds: float, what: str) -> None:
    """Poll until `is_ready()`; raises as soon as a child dies or when the time is up."""
    deadline = time.monotonic() + seconds
    while not is_ready():
        for each in children:
            each.check()
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what} was not ready in {seconds:g} s.\n" + "\n".join(e.log_tail() for e in children))
        time.sleep(0.05)
