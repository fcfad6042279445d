"""The process's one event loop for upstream calls, in a daemon thread; it must never touch the database.

Worker threads hand a coroutine in with `run` and only wait. The loop starts with the first call, can be stopped and
started again, and a forked child gets a loop of its own.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")
CloseCallback = Callable[[], Awaitable[None]]

FILE_THREADS = 4
NAME_LOOKUP_THREADS = 16
STOP_SECONDS = 5.0


class CallCanceled(Exception):
    """What the caller of `run` sees when its coroutine was canceled, by `cancel_all`, `stop` or from within."""


class _Upstream:
    """One loop, its thread and everything that lives and dies with them."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        # asyncio looks names up in the default executor; this keeps slow DNS away from file work.
        self.loop.set_default_executor(ThreadPoolExecutor(NAME_LOOKUP_THREADS, "upstream-names"))
        self.files = ThreadPoolExecutor(FILE_THREADS, "upstream-files")
        self.calls: set[Future[Any]] = set()
        self.close_callbacks: list[CloseCallback] = []
        self.belongings: dict[object, Any] = {}
        self.thread = threading.Thread(target=self._serve, name="upstream-loop", daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        _here.upstream = self
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
        finally:
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
            asyncio.set_event_loop(None)
            self.loop.close()

    def submit(self, coro: Coroutine[Any, Any, T]) -> Future[T]:
        try:
            future = asyncio.run_coroutine_threadsafe(coro, self.loop)
        except BaseException:
            coro.close()
            raise
        self.calls.add(future)
        future.add_done_callback(self.calls.discard)
        return future

    def cancel_all(self, wait_seconds: float) -> int:
        return asyncio.run_coroutine_threadsafe(_cancel_tasks(wait_seconds), self.loop).result()

    def stop(self) -> None:
        self.cancel_all(STOP_SECONDS)
        closing = asyncio.run_coroutine_threadsafe(self._close(), self.loop)
        concurrent.futures.wait([closing], STOP_SECONDS)
        for future in list(self.calls):
            # A task that swallowed its cancellation must not keep its caller's thread.
            future.cancel()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(STOP_SECONDS)
        self.files.shutdown(wait=False, cancel_futures=True)

    async def _close(self) -> None:
        for callback in reversed(self.close_callbacks):
            try:
                await callback()
            except Exception:
                log.exception("closing an upstream client failed")
        self.belongings.clear()
        await self.loop.shutdown_default_executor()


async def _cancel_tasks(wait_seconds: float) -> int:
    """Cancel every other task of this loop; return how many still run after `wait_seconds`."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if not tasks:
        return 0
    _done, pending = await asyncio.wait(tasks, timeout=wait_seconds)
    return len(pending)


_here = threading.local()
_lock = threading.Lock()
# Keyed by process id: a forked child has no such thread, and must neither use nor collect its parent's loop.
_upstreams: dict[int, _Upstream] = {}


def _new_lock() -> None:
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_new_lock)


def _running() -> _Upstream | None:
    return _upstreams.get(os.getpid())


def _started() -> _Upstream:
    """The process's upstream, started if need be. The caller holds the lock."""
    upstream = _running()
    if upstream is None:
        upstream = _upstreams[os.getpid()] = _Upstream()
    return upstream


def is_here() -> bool:
    """Whether this code runs on the upstream loop's own thread."""
    return getattr(_here, "upstream", None) is not None


def run(coro: Coroutine[Any, Any, T], *, timeout_seconds: float | None = None) -> T:
    """Run a coroutine on the upstream loop and wait for it; for worker threads, never for the loop's own thread.

    Returns or raises what the coroutine returns or raises. After `timeout_seconds` the coroutine is canceled and
    TimeoutError raised. A coroutine that was canceled raises CallCanceled here. Whatever else interrupts the wait
    (KeyboardInterrupt) cancels the coroutine too.
    """
    if is_here():
        coro.close()
        raise RuntimeError("the upstream loop cannot wait for itself: await the coroutine instead")
    with _lock:
        future = _started().submit(coro)
    try:
        return _result(future, timeout_seconds)
    except concurrent.futures.CancelledError:
        raise CallCanceled("the call was canceled") from None
    except BaseException:
        future.cancel()
        raise


def _result(future: Future[T], timeout_seconds: float | None) -> T:
    try:
        return future.result(timeout_seconds)
    except TimeoutError:
        # The coroutine may have raised one of its own, or ended just now.
        if not future.done() and future.cancel():
            raise TimeoutError(f"the call did not end within {timeout_seconds} seconds") from None
        return future.result()


def in_flight() -> int:
    """How many calls of `run` have not ended yet in this process."""
    upstream = _running()
    return len(upstream.calls) if upstream else 0


def cancel_all(wait_seconds: float) -> int:
    """Cancel every task on the loop and wait for their ends; their callers get CallCanceled.

    Returns how many still run after `wait_seconds`. The loop stays in service for later calls.
    """
    upstream = _running()
    return upstream.cancel_all(wait_seconds) if upstream else 0


def stop() -> None:
    """Cancel what still runs, await the close callbacks (newest first), end the thread. A later `run` starts anew."""
    if is_here():
        raise RuntimeError("the upstream loop cannot stop itself")
    with _lock:
        upstream = _upstreams.pop(os.getpid(), None)
    if upstream is not None:
        upstream.stop()


def _home() -> _Upstream:
    """The upstream whose loop runs this code. Raises RuntimeError anywhere else."""
    upstream = getattr(_here, "upstream", None)
    if not isinstance(upstream, _Upstream):
        raise RuntimeError("this belongs on the upstream loop")
    return upstream


def on_close(callback: CloseCallback) -> None:
    """Have an async callable awaited on the loop when it stops. May be called from any thread."""
    if is_here():
        _home().close_callbacks.append(callback)
        return
    with _lock:
        _started().close_callbacks.append(callback)


def belongings() -> dict[object, Any]:
    """What is shared by all calls of this loop and forgotten with it, such as clients. Only on the loop."""
    return _home().belongings


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run short blocking file work in the loop's own few threads. Only on the loop.

    A canceled caller leaves at once, while work that already began runs to its end.
    """
    upstream = _home()
    return await upstream.loop.run_in_executor(upstream.files, lambda: function(*args, **kwargs))
