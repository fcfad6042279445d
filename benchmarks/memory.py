"""Memory that images in flight take: growth of web and worker while 64 are made at once, by their weight."""

from __future__ import annotations

from typing import Any

from benchmarks.installation import Installation, all_good
from benchmarks.processes import MemoryWatch
from benchmarks.upstream import Upstream

_IN_FLIGHT = 64
_LATENCY_SECONDS = 3.0
_SIZES = {"50 KB": 50_000, "1.5 MB": 1_500_000, "8 MB": 8_000_000, "20 MB": 20_000_000}


def measure() -> dict[str, Any]:
    """Megabytes per image, each weight on a service just started, answered with base64."""
    found = {name: _of_size(size_bytes) for name, size_bytes in _SIZES.items()}
    growth = {name: each["megabytes_per_image"] for name, each in found.items()}
    return {"in_flight": _IN_FLIGHT, **found, "ratio_20_to_1_5": round(growth["20 MB"] / growth["1.5 MB"], 2)}


def _of_size(size_bytes: int) -> dict[str, Any]:
    with Upstream(size_bytes=size_bytes) as upstream, Installation(upstream) as service:
        is_base64 = service.takes(response_format="b64_json")
        upstream.tell(latency_seconds=_LATENCY_SECONDS)
        plan = service.plan(_IN_FLIGHT, _IN_FLIGHT, **({"response_format": "b64_json"} if is_base64 else {}))
        plan.is_downloading = not is_base64
        plan.image_bytes = size_bytes
        with MemoryWatch(service.children) as memory:
            seen = all_good(service.ask(plan), _IN_FLIGHT)
        return {
            "open_holds": service.settle(),
            "answered_with": "base64" if is_base64 else "a link that is then downloaded",
            "rss_before_megabytes": round(memory.before),
            "peak_rss_megabytes": round(memory.peak),
            "megabytes_per_image": round((memory.peak - memory.before) / _IN_FLIGHT, 3),
            "peak_rss_by_process": {name: round(megabytes) for name, megabytes in memory.peaks.items()},
            "wall_seconds": round(seen.wall_seconds, 2),
            "audit": service.audit(),
        }
