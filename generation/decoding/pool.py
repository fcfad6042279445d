"""Strangers' images are taken in by processes of their own: what an image does to its decoder, it does to that alone.

The processes start when they are first needed, stay, and are replaced when they die. They know no secret of ours: their
environment is empty.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import signal
import subprocess  # nosec B404 # the only program it starts is our own worker
import sys
import threading
from pathlib import Path
from typing import IO, cast

from generation.decoding import exchange
from generation.decoding.references import MAX_BYTES, CleanImage, refused_for_size
from generation.decoding.verdict import Undecodable

PROCESSES = 2
# Forty megapixels need less than a gigabyte, the copies of their bytes included.
MEMORY_BYTES = 1200 * 1024 * 1024
CPU_SECONDS = 10.0
WALL_SECONDS = 30.0
_ROOT = Path(__file__).resolve().parents[2]


class _Died(Exception):
    """The process ended in the middle of an image; `is_late` when that was for want of time."""

    def __init__(self, *, is_late: bool) -> None:
        super().__init__()
        self.is_late = is_late


class _Worker:
    """One process and the pipes to it. Serves one caller at a time."""

    def __init__(self) -> None:
        self.image_count = 0
        self._is_stopped = False
        command = [sys.executable, "-m", "generation.decoding.worker", str(MEMORY_BYTES), str(CPU_SECONDS)]
        self.process = subprocess.Popen(  # noqa: S603 # nosec B603 # no part of the command comes from outside
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=_ROOT,
            env={"PYTHONPATH": str(_ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
            # An interrupt at the terminal is for us; a worker ends when its input does.
            start_new_session=True,
        )
        self._asked = cast("IO[bytes]", self.process.stdin)
        self._answers = cast("IO[bytes]", self.process.stdout)

    def take_in(self, data: bytes, byte_cap: int) -> CleanImage:
        """The image drawn anew, `Undecodable`, or `_Died`."""
        self.image_count += 1
        alarm = threading.Timer(WALL_SECONDS, self._stop)
        alarm.daemon = True
        alarm.start()
        try:
            exchange.ask(self._asked, data, byte_cap)
            return exchange.answered(self._answers)
        except (OSError, exchange.BrokenOff) as error:
            self.end()
            # Its own timer ends it with SIGPROF.
            raise _Died(is_late=self._is_stopped or self.process.returncode == -signal.SIGPROF) from error
        finally:
            alarm.cancel()

    def _stop(self) -> None:
        self._is_stopped = True
        self.process.kill()

    def end(self) -> None:
        """End it if it has not ended, and wait until it has."""
        for pipe in (self._asked, self._answers):
            # What was not written yet is of no use to anybody.
            with contextlib.suppress(OSError):
                pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(0.2)
        self.process.kill()
        self.process.wait()


class Pool:
    """A few workers for as many threads at once; others wait for a place."""

    def __init__(self) -> None:
        self._places = threading.BoundedSemaphore(PROCESSES)
        self._idle: list[_Worker] = []

    def take_in(self, data: bytes, byte_cap: int) -> CleanImage:
        """As `decoding.take_in_apart`. An image that ends its process is refused; one that found it dead is not."""
        with self._places:
            worker = self._idle.pop() if self._idle else _Worker()
            is_fresh = worker.image_count == 0
            try:
                return self._taken_in(worker, data, byte_cap)
            except _Died as death:
                if is_fresh or death.is_late:
                    raise _refusal(death) from death
            try:
                return self._taken_in(_Worker(), data, byte_cap)
            except _Died as death:
                raise _refusal(death) from death

    def _taken_in(self, worker: _Worker, data: bytes, byte_cap: int) -> CleanImage:
        try:
            clean = worker.take_in(data, byte_cap)
        except Undecodable:
            self._idle.append(worker)
            raise
        self._idle.append(worker)
        return clean

    def idle_processes(self) -> list[int]:
        """The process ids of workers that wait for an image."""
        return [worker.process.pid for worker in self._idle]

    def end(self) -> None:
        """End the workers that wait for an image."""
        while self._idle:
            self._idle.pop().end()


def _refusal(death: _Died) -> Undecodable:
    return Undecodable(exchange.TOO_MUCH_TIME if death.is_late else exchange.TOO_MUCH_MEMORY)


@functools.cache
def _pool_of(process_id: int) -> Pool:
    made = Pool()
    # A child that was forked off must not end what is its parent's.
    atexit.register(lambda: made.end() if os.getpid() == process_id else None)
    return made


def pool() -> Pool:
    """The pool of this process; one that was forked off has its own, since a pipe has one owner."""
    return _pool_of(os.getpid())


def take_in_apart(data: bytes, *, byte_cap: int = MAX_BYTES) -> CleanImage:
    """`take_in` in a process of its own. Raises `Undecodable`, also for what needs too much memory or time.

    Blocks for seconds: call it on a thread.
    """
    if len(data) > byte_cap:
        raise refused_for_size(byte_cap)
    return pool().take_in(data, byte_cap)
