"""CPU of web and worker per generation answered with base64, light and heavy; the provider answers at once."""

from __future__ import annotations

from statistics import median
from typing import Any

from benchmarks.bare_work import bare_ms
from benchmarks.installation import Installation, all_good
from benchmarks.machine import touch_memory
from benchmarks.processes import CpuWatch
from benchmarks.upstream import Upstream

_CONCURRENCY = 16
_SIZES = {"50 KB": (50_000, 300), "8 MB": (8_000_000, 60)}
_ROUNDS = 3
_INSTEAD = "a link that is then downloaded: this version does not answer with base64"


def measure() -> dict[str, Any]:
    """Milliseconds by size: the median of three rounds, c=16."""
    with Upstream(size_bytes=50_000) as upstream, Installation(upstream) as service:
        is_base64 = service.takes(response_format="b64_json")
        figures: dict[str, Any] = {"answered_with": "base64" if is_base64 else _INSTEAD}
        for name, (size_bytes, count) in _SIZES.items():
            upstream.restart(size_bytes=size_bytes)
            figures[name] = _of_size(service, size_bytes, count, is_base64=is_base64)
            figures[name]["bare_work_ms"] = bare_ms(size_bytes)
        return figures | {"open_holds": service.settle(), "audit": service.audit()}


def _of_size(service: Installation, size_bytes: int, count: int, *, is_base64: bool) -> dict[str, Any]:
    rounds = [_round(service, size_bytes, count, is_base64=is_base64) for _ in range(_ROUNDS + 1)][1:]
    middle = sorted(rounds, key=lambda each: each["total"])[_ROUNDS // 2]
    return {
        "cpu_ms_per_generation": {name: middle[name] for name in ("web", "worker", "total")},
        "totals_of_rounds": [each["total"] for each in rounds],
        "generations_per_second": round(median(each["rate"] for each in rounds), 1),
        "count": count,
    }


def _round(service: Installation, size_bytes: int, count: int, *, is_base64: bool) -> dict[str, float]:
    plan = service.plan(count, _CONCURRENCY, **({"response_format": "b64_json"} if is_base64 else {}))
    plan.is_downloading = not is_base64
    plan.image_bytes = size_bytes
    touch_memory()
    with CpuWatch(service.children) as cpu:
        seen = all_good(service.ask(plan), count)
    return cpu.per(count) | {"rate": count / seen.wall_seconds}
