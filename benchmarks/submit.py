"""How many requests a second the front door takes, beside a Django view with one look-up and one INSERT."""

from __future__ import annotations

from statistics import median
from typing import Any

from benchmarks import databases
from benchmarks.installation import Installation, all_good, free_port
from benchmarks.load import Plan
from benchmarks.processes import Child, CpuWatch, plain_environment, python, wait_until
from benchmarks.upstream import Upstream

_CONCURRENCY = 16
_ROUNDS = 5
_COUNT = 250
_MINIMAL_COUNT = 1000


def measure() -> dict[str, Any]:
    """Rounds take turns; the worker is stopped meanwhile, and then does what was accepted."""
    with Upstream(size_bytes=50_000) as upstream, Installation(upstream) as service:
        service.generate(64, _CONCURRENCY)
        service.worker.stop()
        service.children.remove(service.worker)
        with databases.database(f"{databases.NAME}_view") as url:
            ours, minimal = _rounds(service, url)
        service.start_worker()
        return {
            "open_holds": service.settle(seconds=600),
            "submit_per_second": round(median(each["rate"] for each in ours), 1),
            "minimal_view_per_second": round(median(each["rate"] for each in minimal), 1),
            "ratio": round(median(a["rate"] / b["rate"] for a, b in zip(ours, minimal, strict=True)), 3),
            "submit_cpu_ms": round(median(each["total"] for each in ours), 2),
            "minimal_view_cpu_ms": round(median(each["total"] for each in minimal), 2),
            "audit": service.audit(),
        }


def _rounds(service: Installation, url: str) -> tuple[list[dict[str, float]], list[dict[str, float]]]:
    port = free_port()
    environment = plain_environment() | {"DATABASE_URL": url, "PORT": str(port)}
    view = Child("view", python("-m", "benchmarks.minimal_view"), environment=environment, folder=service.folder)
    try:
        wait_until(lambda: "listening" in view.log_tail(), children=[view], seconds=30, what="the minimal view")
        pairs = []
        for _ in range(_ROUNDS + 1):
            ours = _round(service, service.web, service.plan(_COUNT, _CONCURRENCY, wait=0))
            pairs.append((ours, _round(service, view, _minimal_plan(port))))
    finally:
        view.stop()
    return [ours for ours, _ in pairs[1:]], [minimal for _, minimal in pairs[1:]]


def _round(service: Installation, process: Child, plan: Plan) -> dict[str, float]:
    with CpuWatch([process]) as cpu:
        seen = all_good(service.ask(plan), plan.count)
    return cpu.per(plan.count) | {"rate": plan.count / seen.wall_seconds}


def _minimal_plan(port: int) -> Plan:
    return Plan(
        port=port,
        target="/",
        headers={"Authorization": "Bearer key-1", "Content-Type": "application/json"},
        body='{"prompt": "number {number}"}',
        count=_MINIMAL_COUNT,
        concurrency=_CONCURRENCY,
        status=202,
        expected='"id"',
    )
