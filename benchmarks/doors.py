"""The doors' answers: the memory that large ones take on their way out, and how soon small ones leave.

An answer is timed to the moment its head arrives at the client: on PostgreSQL from the commit that ends its generation,
as a deferred trigger sees it, and on SQLite from what the row says, which is before that transaction began.
"""

from __future__ import annotations

import sqlite3
import time
import uuid
from datetime import UTC, datetime
from statistics import median
from typing import Any

import httpx2
import psycopg

from accounts.identifiers import parse_public_id
from benchmarks.installation import Installation, all_good
from benchmarks.load import Plan
from benchmarks.processes import MemoryWatch
from benchmarks.upstream import Upstream

_IN_FLIGHT = 32
_LARGE_BYTES, _SMALL_BYTES = 15_000_000, 50_000
_COUNT = 60
_NOTE_COMMITS = """
    CREATE TABLE bench_end (id uuid, at timestamptz);
    CREATE FUNCTION bench_note() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN INSERT INTO bench_end VALUES (NEW.id, clock_timestamp()); RETURN NULL; END';
    CREATE CONSTRAINT TRIGGER bench_note AFTER UPDATE ON generation_generation DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW WHEN (NEW.finished_at IS NOT NULL AND OLD.finished_at IS NULL) EXECUTE FUNCTION bench_note();
"""
_MODEL, _PROMPT = "gemini-3-pro-image", "A nano banana {number}"
# Path, body, and what stands at the beginning of an answer.
_DOORS: dict[str, tuple[str, str, str]] = {
    "openai": ("/openai/v1/images/generations", f'{{"model": "{_MODEL}", "prompt": "{_PROMPT}"}}', '"data": ['),
    "gemini": (
        f"/gemini/v1beta/models/{_MODEL}:generateContent",
        f'{{"contents": [{{"parts": [{{"text": "{_PROMPT}"}}]}}]}}',
        '"candidates": [',
    ),
    "ai_gateway": ("/ai-gateway/v4/ai/image-model", f'{{"prompt": "{_PROMPT}", "n": 1}}', '"images": ['),
}


def measure() -> dict[str, Any]:
    """Megabytes of the web process per 20 MB of base64 in flight, and milliseconds from the end of the work."""
    with Upstream(size_bytes=_LARGE_BYTES) as upstream:
        memory = {name: _memory(upstream, name) for name in _DOORS}
    with Upstream(size_bytes=_SMALL_BYTES) as upstream:
        after = {
            "redis": _after_the_end(upstream, is_embedded=False),
            "embedded": _after_the_end(upstream, is_embedded=True),
        }
    return {"in_flight": _IN_FLIGHT, "megabytes_per_answer": memory, "after_the_end": after}


def _headers(service: Installation) -> dict[str, str]:
    return {
        "Authorization": f"Bearer {service.key}",
        "Content-Type": "application/json",
        "ai-image-model-specification-version": "4",
        "ai-model-id": f"google/{_MODEL}",
    }


def _memory(upstream: Upstream, name: str) -> float:
    """Growth of a web process just started, over what it holds after a few answers."""
    path, body, expected = _DOORS[name]
    with Installation(upstream) as service:
        plan = Plan(service.port, path, _headers(service), body, 4, 4, expected=expected)
        all_good(service.ask(plan), 4)
        plan.count = plan.concurrency = _IN_FLIGHT
        plan.first_number = 4
        with MemoryWatch([service.web]) as memory:
            all_good(service.ask(plan), _IN_FLIGHT)
        service.audit()
        return round((memory.peak - memory.before) / _IN_FLIGHT, 3)


def _after_the_end(upstream: Upstream, *, is_embedded: bool) -> dict[str, float]:
    """By door, the median of milliseconds, one request at a time."""
    with Installation(upstream, is_embedded=is_embedded) as service:
        if not is_embedded:
            with psycopg.connect(service.environment["DATABASE_URL"]) as connection:
                connection.execute(_NOTE_COMMITS)
        return {name: _times(service, name) for name in _DOORS}


def _times(service: Installation, name: str) -> float:
    path, body, _ = _DOORS[name]
    arrivals: dict[str, float] = {}
    with httpx2.Client(base_url=f"http://127.0.0.1:{service.port}", trust_env=False, timeout=60) as client:
        for number in range(_COUNT):
            text = body.replace("{number}", f"{name} {number}")
            with client.stream("POST", path, content=text, headers=_headers(service)) as response:
                arrived = time.time()
                response.read()
                assert response.status_code == 200, response.text
            arrivals[response.headers["x-generation-id"]] = arrived
    return round(median(arrived - _finished_at(service, name) for name, arrived in arrivals.items()) * 1000, 2)


def _finished_at(service: Installation, name: str) -> float:
    row_id = parse_public_id("gen", name)
    assert row_id is not None
    if service.is_embedded:
        return _of_sqlite(service, row_id)
    with psycopg.connect(service.environment["DATABASE_URL"]) as connection:
        row = connection.execute("SELECT at FROM bench_end WHERE id = %s", [row_id]).fetchone()
    assert row is not None
    found: datetime = row[0]
    return found.timestamp()


def _of_sqlite(service: Installation, row_id: uuid.UUID) -> float:
    with sqlite3.connect(service.folder / "bench.sqlite3") as database:
        sql = "SELECT finished_at FROM generation_generation WHERE id = ?"
        (text,) = database.execute(sql, [row_id.hex]).fetchone()
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
