"""The upstream loop: one thread, honest ends for every call, restartable, and safe after a fork."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from generation.egress import loop


@pytest.fixture(autouse=True)
def stopped_loop() -> Iterator[None]:
    loop.stop()
    yield
    loop.stop()


def loop_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "upstream-loop"]


async def wait_for(event: threading.Event) -> str:
    while not event.is_set():
        await asyncio.sleep(0.005)
    return "waited"


def until(condition: object, seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it never became true"
        time.sleep(0.005)


class Background:
    """One `run` in a thread of its own, with what it returned or raised."""

    def __init__(self, coro: object, **options: object) -> None:
        self.result: object = None
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, args=(coro, options), daemon=True)
        self.thread.start()

    def _run(self, coro: object, options: dict[str, object]) -> None:
        try:
            self.result = loop.run(coro, **options)  # type: ignore[arg-type]
        except BaseException as error:
            self.error = error

    def join(self) -> None:
        self.thread.join(5)
        assert not self.thread.is_alive()


def test_returns_what_the_coroutine_returns_and_starts_lazily() -> None:
    async def where() -> tuple[str, bool]:
        return threading.current_thread().name, loop.is_here()

    assert loop_threads() == []
    assert loop.run(where()) == ("upstream-loop", True)
    assert not loop.is_here()
    assert len(loop_threads()) == 1


def test_raises_what_the_coroutine_raises() -> None:
    async def fail() -> None:
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        loop.run(fail(), timeout_seconds=5)


def test_many_threads_share_one_loop() -> None:
    gate = threading.Event()
    with ThreadPoolExecutor(20) as pool:
        futures = [pool.submit(loop.run, wait_for(gate)) for _ in range(20)]
        until(lambda: loop.in_flight() == 20)
        assert len(loop_threads()) == 1
        gate.set()
        assert [future.result(5) for future in futures] == ["waited"] * 20
    assert loop.in_flight() == 0


def test_a_timeout_cancels_the_coroutine() -> None:
    ended = threading.Event()

    async def slow() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.set()
            raise

    with pytest.raises(TimeoutError, match=r"0\.05 seconds"):
        loop.run(slow(), timeout_seconds=0.05)
    assert ended.wait(5)
    until(lambda: loop.in_flight() == 0)


def test_cancel_all_ends_every_call_and_leaves_the_loop_in_service() -> None:
    gate = threading.Event()
    calls = [Background(wait_for(gate)) for _ in range(5)]
    until(lambda: loop.in_flight() == 5)
    assert loop.cancel_all(5) == 0
    assert loop.in_flight() == 0
    for call in calls:
        call.join()
        assert isinstance(call.error, loop.CallCanceled)
    assert loop.run(asyncio.sleep(0, "still here")) == "still here"


def test_cancel_all_waits_for_clean_up_but_not_forever() -> None:
    released = threading.Event()

    async def stubborn() -> str:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await wait_for(released)
        return "stayed"

    call = Background(stubborn())
    until(lambda: loop.in_flight() == 1)
    loop.run(asyncio.sleep(0))
    assert loop.cancel_all(0.05) == 1
    assert loop.in_flight() == 1
    released.set()
    call.join()
    assert call.result == "stayed"


def test_a_call_that_was_canceled_from_within_is_told_apart() -> None:
    async def give_up() -> None:
        raise asyncio.CancelledError

    with pytest.raises(loop.CallCanceled):
        loop.run(give_up())


def test_stop_runs_the_close_callbacks_on_the_loop_newest_first_and_frees_the_callers() -> None:
    order: list[str] = []

    def closer(name: str) -> None:
        async def close() -> None:
            assert loop.is_here()
            order.append(name)
            if name == "second":
                raise OSError("a failing callback keeps no other from running")

        loop.on_close(close)

    async def register() -> None:
        closer("third")

    closer("first")
    closer("second")
    loop.run(register())
    call = Background(wait_for(threading.Event()))
    until(lambda: loop.in_flight() == 1)
    loop.stop()
    assert order == ["third", "second", "first"]
    call.join()
    assert isinstance(call.error, loop.CallCanceled)
    assert loop_threads() == []
    assert loop.in_flight() == 0
    assert loop.cancel_all(1) == 0


def test_stop_frees_a_caller_whose_coroutine_swallows_its_cancellation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "STOP_SECONDS", 0.1)
    released = threading.Event()

    async def stubborn() -> None:
        while not released.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await wait_for(released)

    call = Background(stubborn())
    until(lambda: loop.in_flight() == 1)
    loop.run(asyncio.sleep(0))
    threading.Timer(0.3, released.set).start()
    loop.stop()
    call.join()
    assert isinstance(call.error, loop.CallCanceled)
    released.set()


def test_a_stopped_loop_starts_again_with_nothing_of_the_old_one() -> None:
    async def belongings() -> int:
        kept = loop.belongings()
        kept["visits"] = kept.get("visits", 0) + 1
        return int(kept["visits"])

    assert loop.run(belongings()) == 1
    assert loop.run(belongings()) == 2
    loop.stop()
    assert loop.run(belongings()) == 1


def test_the_loop_cannot_wait_for_or_stop_itself() -> None:
    async def nested() -> None:
        loop.run(asyncio.sleep(0))

    async def suicidal() -> None:
        loop.stop()

    with pytest.raises(RuntimeError, match="await the coroutine"):
        loop.run(nested())
    with pytest.raises(RuntimeError, match="cannot stop itself"):
        loop.run(suicidal())
    with pytest.raises(RuntimeError, match="belongs on the upstream loop"):
        loop.belongings()


def test_file_work_has_few_threads_and_name_lookups_others() -> None:
    names: set[str] = set()
    peak = busy = 0
    lock = threading.Lock()

    def work() -> int:
        nonlocal peak, busy
        with lock:
            names.add(threading.current_thread().name)
            busy += 1
            peak = max(peak, busy)
        time.sleep(0.01)
        with lock:
            busy -= 1
        return 1

    async def many() -> int:
        results = await asyncio.gather(*(loop.in_thread(work) for _ in range(20)))
        await asyncio.get_running_loop().getaddrinfo("127.0.0.1", 80, family=socket.AF_INET)
        return sum(results)

    assert loop.run(many()) == 20
    assert 1 < peak <= loop.FILE_THREADS
    assert all(name.startswith("upstream-files") for name in names)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("asyncio_")]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_gets_a_loop_of_its_own_and_leaves_the_parents_alone() -> None:
    assert loop.run(asyncio.sleep(0, "parent")) == "parent"
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            answer = loop.run(asyncio.sleep(0.01, "child"), timeout_seconds=5)
            loop.stop()
            os.write(writer, answer.encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        assert pipe.read() == b"child"
    os.waitpid(child, 0)
    assert loop.run(asyncio.sleep(0.01, "parent again"), timeout_seconds=5) == "parent again"
