"""What the service adds to the provider's own time when nothing else is going on, and how soon accepted work starts."""

from __future__ import annotations

import json
from statistics import median
from typing import Any

from benchmarks.installation import Installation, all_good
from benchmarks.load import Plan
from benchmarks.processes import python, run
from benchmarks.upstream import Upstream

_ROUNDS = 4
_COUNT = 50
_STARTS = 200


def measure() -> dict[str, Any]:
    """Milliseconds, medians, one request at a time; rounds against the bare provider and through us take turns."""
    return {"redis": _of_form(is_embedded=False), "embedded": _of_form(is_embedded=True)}


def _of_form(*, is_embedded: bool) -> dict[str, Any]:
    with Upstream(size_bytes=50_000) as upstream, Installation(upstream, is_embedded=is_embedded) as service:
        service.generate(_COUNT, 1)
        bare: list[float] = []
        through: list[float] = []
        for _ in range(_ROUNDS):
            bare += all_good(service.ask(_bare(upstream)), _COUNT).latencies
            through += service.generate(_COUNT, 1).latencies
        starts = _starts(service)
        return {
            "bare_p50_ms": _ms(bare),
            "through_p50_ms": _ms(through),
            "added_p50_ms": round(_ms(through) - _ms(bare), 2),
            "through_p99_ms": round(sorted(through)[int(len(through) * 0.99)] * 1000, 2),
            "enqueue_to_start_p50_ms": round(median(starts), 2),
            "enqueue_to_start_p99_ms": round(sorted(starts)[int(len(starts) * 0.99)], 2),
            "audit": service.audit(),
        }


def _ms(seconds: list[float]) -> float:
    return round(median(seconds) * 1000, 2)


def _bare(upstream: Upstream) -> Plan:
    body = {
        "contents": [{"role": "user", "parts": [{"text": "A nano banana on a marble table"}]}],
        "generationConfig": {"responseModalities": ["TEXT", "IMAGE"], "imageConfig": {"imageSize": "1K"}},
    }
    return Plan(
        port=upstream.port,
        target="/v1beta/models/gemini-3-pro-image:generateContent",
        headers={"x-goog-api-key": "a-made-up-key", "Content-Type": "application/json"},
        body=json.dumps(body),
        count=_COUNT,
        concurrency=1,
        expected="inlineData",
    )


def _starts(service: Installation) -> list[float]:
    """Milliseconds from the commit of an accepted request to the start of its attempt, measured by `benchmarks.starts`.

    The embedded form's queue lies in the memory of its process, so there the measuring process runs the worker, too.
    """
    if service.is_embedded:
        service.web.stop()
    said = run(
        python("-m", "benchmarks.starts", str(_STARTS), *(["--embedded"] if service.is_embedded else [])),
        environment=service.environment,
    )
    times: list[float] = json.loads(said.splitlines()[-1])
    return times
