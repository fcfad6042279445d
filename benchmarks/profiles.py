"""Optional profiles of web and worker by py-spy, from outside: what holds the interpreter lock, ten milliseconds apart.

Work that gives the lock back (inflating, hashing, waiting) does not show; figures taken meanwhile do not count.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

_RATE = 100
_SHOWN = 40
_folder: list[Path] = []


class NoProfiler(Exception):
    """py-spy is not installed."""


def enable(folder: Path) -> None:
    """Profile every CPU measurement from now on into files of a folder."""
    if not _program():
        raise NoProfiler("--profile needs py-spy (pip install py-spy in an environment of its own, PY_SPY=path).")
    folder.mkdir(parents=True, exist_ok=True)
    _folder.append(folder)


def _program() -> str | None:
    return os.environ.get("PY_SPY") or shutil.which("py-spy")


class Profile:
    """One py-spy per process between `start` and `stop`; nothing unless profiles are enabled."""

    def __init__(self, processes: Sequence[tuple[str, int]]) -> None:
        self._recorders: list[tuple[Path, subprocess.Popen[bytes]]] = []
        if _folder:
            self._recorders = [self._record(name, pid) for name, pid in processes]

    def _record(self, name: str, pid: int) -> tuple[Path, subprocess.Popen[bytes]]:
        number = sum(1 for _ in _folder[0].glob(f"{name}-*.stacks"))
        path = _folder[0] / f"{name}-{number}.stacks"
        command = [str(_program()), "record", "--pid", str(pid), "--rate", str(_RATE), "--format", "raw", "--gil"]
        with path.with_suffix(".log").open("wb") as log:
            process = subprocess.Popen(
                [*command, "--output", str(path), "--duration", "unlimited"],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return path, process

    def stop(self) -> None:
        """End the recorders and write a table of the heaviest functions beside each file of stacks."""
        for path, process in self._recorders:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=60)
            if path.exists():
                path.with_suffix(".txt").write_text(heaviest(path), encoding="utf-8")


def heaviest(path: Path) -> str:
    """The functions with most samples: alone, and with what they call, in per cent."""
    alone: Counter[str] = Counter()
    together: Counter[str] = Counter()
    for line in path.read_text(encoding="utf-8").splitlines():
        stack, _, count = line.rpartition(" ")
        frames = [_without_line(frame) for frame in stack.split(";")]
        alone[frames[-1]] += int(count)
        for frame in set(frames):
            together[frame] += int(count)
    total = sum(alone.values()) or 1
    return "\n".join(
        [f"{total} samples", "", "with callees"]
        + [f"{count / total:7.1%}  {frame}" for frame, count in together.most_common(4 * _SHOWN)]
        + ["", "alone"]
        + [f"{count / total:7.1%}  {frame}" for frame, count in alone.most_common(_SHOWN)]
        + [""]
    )


def _without_line(frame: str) -> str:
    return frame.rpartition(":")[0] + ")" if ":" in frame else frame
