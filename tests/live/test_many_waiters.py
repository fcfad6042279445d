"""A web process with hundreds of clients waiting: it holds their connections, and no threads for them."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
WAITERS = 200
PRICE_MICROS = 147_400
# NBP_INTAKE_THREADS, NBP_WAITING_THREADS, the threads for files, and the watcher.
EXECUTOR_THREADS = 16 + 16 + 8 + 1


def _threads(process_id: int) -> int:
    lines = Path(f"/proc/{process_id}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Threads:"))


def test_two_hundred_waiters_cost_no_threads_and_are_all_answered(service: Any) -> None:
    running = service(NBP_SERVE_ARGUMENTS="--no-worker", NBP_REQUESTS_PER_MINUTE="100000")
    running.ask("GET", "wallet")
    before = _threads(running.process.pid)

    async def create(client: httpx2.AsyncClient, number: int) -> int:
        body = {"prompt": f"waiter {number}", "image_size": "1K"}
        headers = {"authorization": f"Bearer {running.note['test_key']}", "prefer": "wait=120"}
        response = await client.post(f"{running.base_url}/api/v1/generations", json=body, headers=headers)
        assert response.json()["id"].startswith("gen_"), response.text
        return response.status_code

    async def wait_together() -> tuple[int, list[int]]:
        limits = httpx2.Limits(max_connections=WAITERS)
        async with httpx2.AsyncClient(timeout=150, trust_env=False, limits=limits) as client:
            waiting = [asyncio.create_task(create(client, number)) for number in range(WAITERS)]
            deadline = time.monotonic() + 100
            while await asyncio.to_thread(_held, running) < WAITERS * PRICE_MICROS:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.2)
            threads = _threads(running.process.pid)
            running.process.send_signal(signal.SIGTERM)
            return threads, await asyncio.gather(*waiting)

    threads, statuses = asyncio.run(wait_together())
    assert statuses == [202] * WAITERS
    assert threads - before <= EXECUTOR_THREADS
    assert running.process.wait(60) == 0
    assert "Traceback" not in running.log


def _held(running: Any) -> int:
    return int(json.loads(running.ask("GET", "wallet").text)["held_micros"])
