"""A thousand generations at once while the provider takes 15 s for each: wall time, memory and CPU."""

from __future__ import annotations

from typing import Any

from benchmarks.installation import Installation
from benchmarks.load import Plan, Seen
from benchmarks.processes import CpuWatch, MemoryWatch
from benchmarks.upstream import Upstream

IMAGE_BYTES = 50_000
_COUNT = 1000
_LATENCY_SECONDS = 15.0
_WARM_UP = 64
_ANSWERS = {
    (False, False): "a link",
    (True, False): "base64",
    (True, True): "a link that is then downloaded: this version does not answer with base64",
}


def measure(*, count: int = _COUNT, latency_seconds: float = _LATENCY_SECONDS) -> dict[str, Any]:
    """One burst answered with links, one with base64, each on a service just started."""
    figures = {"count": count, "latency_seconds": latency_seconds, "image_bytes": IMAGE_BYTES}
    return figures | {
        "links": _burst(count, latency_seconds, {}),
        "base64": _burst(count, latency_seconds, {"response_format": "b64_json"}),
    }


def _burst(count: int, latency_seconds: float, body: dict[str, str]) -> dict[str, Any]:
    with Upstream(size_bytes=IMAGE_BYTES) as upstream, Installation(upstream) as service:
        is_downloading = bool(body) and not service.takes(**body)
        sent = {} if is_downloading else body
        service.generate(_WARM_UP, 16, **sent)
        upstream.tell(latency_seconds=latency_seconds)
        plan = service.plan(count, count, **sent)
        plan.is_downloading = is_downloading
        with MemoryWatch(service.children) as memory, CpuWatch(service.children) as cpu:
            seen = service.ask(plan)
        said = upstream.tell()
        open_holds = service.settle()
        return _figures(plan, seen, memory, cpu, latency_seconds) | {
            "answered_with": _ANSWERS[bool(body), is_downloading],
            "peak_in_flight_upstream": said["peak_in_flight"],
            "open_holds": open_holds,
            "audit": service.audit(),
        }


def _figures(plan: Plan, seen: Seen, memory: MemoryWatch, cpu: CpuWatch, latency_seconds: float) -> dict[str, Any]:
    times = sorted(seen.latencies) or [0.0]
    return {
        "succeeded": seen.good_count,
        "statuses": seen.statuses,
        "bad": seen.bad,
        "wall_seconds": round(seen.wall_seconds, 2),
        "wall_ratio": round(seen.wall_seconds / latency_seconds, 3),
        "p50_seconds": round(times[len(times) // 2], 2),
        "peak_rss_megabytes": round(memory.peak),
        "rss_before_megabytes": round(memory.before),
        "peak_rss_by_process": {name: round(megabytes) for name, megabytes in memory.peaks.items()},
        "cpu_ms_per_generation": cpu.per(plan.count),
        "generator_cpu_ms_per_request": round(seen.cpu_seconds / plan.count * 1000, 2),
    }
