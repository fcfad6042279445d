"""The fake Gemini API in a process of its own, told by lines of JSON what latency and faults to play.

Its CPU and memory are never counted: it stands for the provider.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.processes import ROOT, plain_environment, python

_SEED = 20


class Upstream:
    """A running fake: `with Upstream(size_bytes=50_000) as upstream: upstream.base_url`."""

    def __init__(self, *, size_bytes: int, latency_seconds: float = 0.0, port: int = 0) -> None:
        self._start(size_bytes, latency_seconds, port)

    def _start(self, size_bytes: int, latency_seconds: float, port: int) -> None:
        arguments = [str(port), str(size_bytes), str(latency_seconds)]
        self._process = subprocess.Popen(
            python("-m", "benchmarks.upstream", *arguments),
            cwd=ROOT,
            env=plain_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        self.port = int(json.loads(self._process.stdout.readline())["port"])

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def tell(self, **told: Any) -> dict[str, Any]:
        """Change `latency_seconds` or `faults` (shares by fault name); answers the counts since the last time."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(told) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def restart(self, *, size_bytes: int, latency_seconds: float = 0.0) -> None:
        """Serve pictures of another weight on the same port."""
        self.stop()
        self._start(size_bytes, latency_seconds, self.port)

    def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


class Mix:
    """Strikes requests with faults by their shares, from a fixed seed, and counts."""

    def __init__(self) -> None:
        self._chance = random.Random(_SEED)
        self._lock = threading.Lock()
        self.shares: dict[str, float] = {}
        self.counts: Counter[str] = Counter()

    def pick(self) -> str:
        """The name of this request's fault, or an empty text."""
        with self._lock:
            place, chosen = self._chance.random(), ""
            for name, share in self.shares.items():
                if place < share:
                    chosen = name
                    break
                place -= share
            self.counts[chosen or "ok"] += 1
        return chosen


def main() -> None:
    """Serve until standard input ends."""
    sys.path.insert(0, str(Path(ROOT)))
    from generation.channels.fakes.gemini import FakeGemini, Fault

    port, size_bytes, latency_seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    mix = Mix()
    fake = FakeGemini(
        port=port, latency_seconds=latency_seconds, size_bytes=size_bytes, cached=True, is_recording=False
    )
    fake.fault_for = lambda _: Fault(name) if (name := mix.pick()) else None
    with fake:
        print(json.dumps({"port": int(fake.base_url.rsplit(":", 1)[1])}), flush=True)
        for line in sys.stdin:
            told = json.loads(line)
            fake.latency_seconds = told.get("latency_seconds", fake.latency_seconds)
            mix.shares = told.get("faults", mix.shares)
            answer = {"counts": dict(mix.counts), "peak_in_flight": fake.peak_in_flight}
            mix.counts.clear()
            fake.peak_in_flight = 0
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
