"""Waiting for an end: a ring wakes at once, whenever it comes, and whoever rings waits for nobody."""

from __future__ import annotations

import asyncio
import os
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from generation import queries, waiting, wakeups
from generation.waiting import Watcher


@pytest.fixture
def watcher(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Iterator[Watcher]:
    """A watcher that only rings can wake: its net is out of reach."""
    settings.NBP_REDIS_URL = ""
    monkeypatch.setattr(waiting, "_TICK_SECONDS", 60.0)
    before = set(wakeups._listeners)
    yield Watcher()
    wakeups._listeners.intersection_update(before)


def _seconds_waited(watcher: Watcher, generation_id: uuid.UUID, *, seconds: float = 20.0, after: Any = None) -> float:
    async def wait() -> float:
        begun = time.monotonic()
        if after is not None:
            threading.Timer(0.05, after).start()
        await watcher.wait(generation_id, seconds=seconds)
        return time.monotonic() - begun

    return asyncio.run(wait())


def test_a_ring_wakes_who_waits(watcher: Watcher) -> None:
    generation_id = uuid.uuid4()
    assert _seconds_waited(watcher, generation_id, after=lambda: wakeups.ring(str(generation_id))) < 10


def test_a_ring_before_the_wait_is_not_lost(watcher: Watcher) -> None:
    generation_id = uuid.uuid4()
    wakeups.ring(str(generation_id))
    assert _seconds_waited(watcher, generation_id) < 10


def test_only_the_last_rings_are_remembered(watcher: Watcher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "_REMEMBERED", 3)
    ids = [uuid.uuid4() for _ in range(5)]
    wakeups.ring_many([str(each) for each in ids])
    assert list(watcher._ended) == ids[2:]


def test_another_ring_wakes_nobody(watcher: Watcher) -> None:
    assert _seconds_waited(watcher, uuid.uuid4(), seconds=0.3, after=lambda: wakeups.ring(str(uuid.uuid4()))) >= 0.29


def test_many_are_woken_by_one_ring_on_every_loop(watcher: Watcher) -> None:
    ids = [uuid.uuid4() for _ in range(300)]
    woken: list[int] = []

    async def all_of(some: list[uuid.UUID]) -> None:
        await asyncio.gather(*(watcher.wait(each, seconds=20) for each in some))
        woken.append(len(some))

    threads = [threading.Thread(target=lambda part=part: asyncio.run(all_of(ids[part::2]))) for part in (0, 1)]
    for thread in threads:
        thread.start()
    while len(watcher._waiters) < 300:
        time.sleep(0.01)
    wakeups.ring_many([str(each) for each in ids])
    for thread in threads:
        thread.join(10)
    assert woken == [150, 150]
    assert not watcher._waiters


def test_what_is_no_id_is_no_reason_to_stop_listening(watcher: Watcher) -> None:
    wakeups.ring_many(["nonsense"])
    generation_id = uuid.uuid4()
    assert _seconds_waited(watcher, generation_id, after=lambda: wakeups.ring(str(generation_id))) < 10


def test_a_process_that_stops_makes_nobody_wait(watcher: Watcher) -> None:
    assert _seconds_waited(watcher, uuid.uuid4(), after=watcher.close) < 10
    assert _seconds_waited(watcher, uuid.uuid4()) < 1


def test_without_a_ring_the_net_catches(watcher: Watcher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "_TICK_SECONDS", 0.05)
    monkeypatch.setattr(queries, "finished", lambda ids: ids)
    assert _seconds_waited(watcher, uuid.uuid4()) < 10


def test_whoever_rings_waits_once_for_a_redis_that_is_down(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.NBP_REDIS_URL = "redis://127.0.0.1:9/0"
    monkeypatch.setattr(wakeups, "_silent_until", [0.0])
    wakeups._client.cache_clear()
    asked: list[str] = []
    original = wakeups._publish
    monkeypatch.setattr(wakeups, "_publish", lambda ids: (asked.append(",".join(ids)), original(ids)))
    heard: list[str] = []
    stop = wakeups.listen(heard.extend)
    for name in ("a", "b", "c"):
        wakeups.ring(name)
    stop()
    wakeups._client.cache_clear()
    assert (asked, heard) == (["a"], ["a", "b", "c"])


@pytest.mark.services
def test_many_ends_are_one_message_to_the_other_processes(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    if not os.environ.get("NBP_TEST_SERVICES"):
        pytest.skip("needs Redis: make test-services")
    sent: list[str] = []
    original = wakeups._client().publish
    monkeypatch.setattr(
        wakeups._client(), "publish", lambda channel, text: (sent.append(text), original(channel, text))
    )
    heard: list[str] = []
    ids = [str(uuid.uuid4()) for _ in range(64)]
    wakeups.hear_other_processes()
    stop = wakeups.listen(heard.extend)
    try:
        deadline = time.monotonic() + 10
        # Here at once, and once more as it comes back from Redis, when the subscription stands.
        while len(heard) < 128 and time.monotonic() < deadline:
            heard.clear()
            sent.clear()
            wakeups.ring_many(ids)
            time.sleep(0.2)
    finally:
        stop()
    assert sent == [",".join(ids)]
    assert heard == ids * 2
