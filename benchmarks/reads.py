"""How long reads take once a million outputs lie in the database: of customers, and of the operator."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any

from benchmarks.installation import Installation, all_good
from benchmarks.load import Plan
from benchmarks.processes import CpuWatch, python, run
from benchmarks.upstream import Upstream

_OUTPUTS = 1_000_000
_COUNT = 30
_WARM_UP = 3


def measure() -> dict[str, Any]:
    """Milliseconds over HTTP, medians, one request at a time. The account that asks owns a fifth of all outputs.

    The list of charges opens with the last 30 days; all time is asked for as well, because that is the million.
    """
    with Upstream(size_bytes=50_000) as upstream, Installation(upstream) as service:
        said = run(python("-m", "benchmarks.fill", str(_OUTPUTS)), environment=service.environment, seconds=3600)
        filled = json.loads(said.splitlines()[-1])
        if filled["broken"]:
            raise RuntimeError(f"the filled database breaks invariants: {filled['broken']}")
        session = filled.pop("session")
        times, cpu = {}, {}
        for name, target in _targets().items():
            times[name], cpu[name] = _measured(service, target, session)
        return {"outputs": _OUTPUTS, **filled, "p50_ms": times, "web_cpu_ms": cpu, "audit": "ok"}


def _targets() -> dict[str, str]:
    now = datetime.now(UTC)
    month, day = now - timedelta(days=30), "%Y-%m-%d"
    usage = f"/api/v1/usage?since={month.strftime(day)}&until={now.strftime(day)}&group_by="
    charges = "/admin/generation/charge/"
    lately = f"{charges}?mode=live&created_at__gte={month.strftime(day)}+00%3A00%3A00%2B00%3A00"
    return {
        "balance": "/api/v1/wallet",
        "last 50 entries": "/api/v1/ledger?limit=50",
        "a month's usage by day": f"{usage}day",
        "a month's usage by model": f"{usage}model",
        "a month's usage by key": f"{usage}key",
        "last 50 generations": "/api/v1/generations?limit=50",
        "admin: overview": "/admin/",
        "admin: charges with sums": charges,
        "admin: charges of 30 days": lately,
        "admin: charges of all time": f"{charges}?period=all",
        "admin: generations": "/admin/generation/generation/",
        "admin: entries": "/admin/ledger/entry/",
        "admin: holds": "/admin/ledger/hold/",
    }


def _measured(service: Installation, target: str, session: str) -> tuple[float, float]:
    """The middle of the times that a page took, and the web process's CPU for one, both in milliseconds."""
    is_admin = target.startswith("/admin/")
    headers = {"Cookie": f"sessionid={session}"} if is_admin else {"Authorization": f"Bearer {service.key}"}
    plan = Plan(service.port, target, headers, "", _COUNT + _WARM_UP, 1, method="GET")
    with CpuWatch([service.web]) as cpu:
        seen = all_good(service.ask(plan), plan.count)
    return round(median(seen.latencies[_WARM_UP:]) * 1000, 1), cpu.per(plan.count)["total"]
