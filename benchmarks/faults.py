"""How many generations succeed while the provider fails, how many calls that takes, and whether the money is exact."""

from __future__ import annotations

from typing import Any

from benchmarks.installation import Installation
from benchmarks.upstream import Upstream

_COUNT = 3000
_CONCURRENCY = 64
_LATENCY_SECONDS = 0.02
_BUSY = {"503": 0.2}
_MIXED = {"503": 0.075, "429": 0.075, "truncated": 0.075, "reset": 0.075}
_PATIENCE_SECONDS = 900.0
_SECOND_CHANNEL = """
import os
from generation.channels.models import Channel
base_url = os.environ["GOOGLE_GEMINI_BASE_URL"]
channel = Channel(name="second", kind="gemini", mode="live", base_url=base_url, priority=200)
channel.set_secret("another-made-up-key")
channel.save()
"""


def measure() -> dict[str, Any]:
    """Three installations, one after the other, with the waits between tries that ship."""
    return {
        "count": _COUNT,
        "busy_one_channel": _run(_BUSY),
        "busy_two_channels": _run(_BUSY, has_second_channel=True),
        "mixed": _run(_MIXED),
    }


def _run(shares: dict[str, float], *, has_second_channel: bool = False) -> dict[str, Any]:
    with (
        Upstream(size_bytes=50_000, latency_seconds=_LATENCY_SECONDS) as upstream,
        Installation(upstream) as service,
    ):
        if has_second_channel:
            service.manage("shell", "-c", _SECOND_CHANNEL)
        upstream.tell(faults=shares)
        seen = service.ask(service.plan(_COUNT, _CONCURRENCY))
        service.settle(seconds=_PATIENCE_SECONDS)
        struck = upstream.tell(faults={})["counts"]
        times = sorted(seen.latencies)
        return _figures(service) | {
            "good_answers_within_120_s": seen.good_count,
            "wall_seconds": round(seen.wall_seconds, 1),
            "p50_ms": round(times[len(times) // 2] * 1000),
            "p99_ms": round(times[int(len(times) * 0.99)] * 1000),
            "upstream_answers": struck,
            "audit": service.audit(),
        }


def _figures(service: Installation) -> dict[str, Any]:
    """Of all generations but the one that the installation began with, which met no fault."""
    succeeded = service.query("SELECT count(*) FROM generation_output WHERE state = 'succeeded'") - 1
    attempts = service.query("SELECT count(*) FROM generation_attempt") - 1
    return {
        "succeeded": succeeded,
        "success_percent": round(succeeded * 100 / _COUNT, 3),
        "attempts_per_generation": round(attempts / _COUNT, 3),
        "unfinished": service.query("SELECT count(*) FROM generation_generation WHERE finished_at IS NULL"),
        "open_holds": service.query("SELECT count(*) FROM ledger_hold WHERE state = 'open'"),
        "captures": service.query("SELECT count(*) FROM ledger_entry WHERE kind = 'capture'") - 1,
        "images": service.query("SELECT count(*) FROM generation_media") - 1,
        "charged_micros_less_captured": service.query(
            "SELECT ((SELECT coalesce(sum(price_micros), 0) FROM generation_charge)"
            " - (SELECT coalesce(sum(amount_micros), 0) FROM ledger_entry WHERE kind = 'capture'))::bigint"
        ),
        "failures": service.query(
            "SELECT coalesce(json_object_agg(error_code, count), '{}') FROM (SELECT error_code, count(*) AS count"
            " FROM generation_output WHERE state = 'failed' GROUP BY error_code) AS failed"
        ),
    }
