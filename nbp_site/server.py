"""Serves the site with uvicorn and ends it in order: waiting clients first, then calls, then the worker.

uvicorn re-raises SIGTERM after its own shutdown, which would kill the process before ours; so the signals are ours.
"""

from __future__ import annotations

import logging
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn
from django.conf import settings

from generation import execution
from generation.egress import loop
from generation.waiting import WATCHER
from nbp_site import memory
from nbp_site.embedded import EmbeddedWorker
from nbp_site.sweeper import SWEEPER

logger = logging.getLogger(__name__)


class Server(uvicorn.Server):
    """uvicorn that says when it listens, and answers its waiting clients before it closes their connections."""

    def __init__(self, config: uvicorn.Config, *, on_listening: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_listening = on_listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if not self.should_exit:
            memory.settle()
            self._on_listening()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        WATCHER.close()
        self.force_exit = self.should_exit
        self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def serve(*, host: str, port: int, with_worker: bool, on_listening: Callable[[], None]) -> None:
    """Serve until SIGINT or SIGTERM, then end in order. Call from the main thread."""
    config = uvicorn.Config(
        "nbp_site.asgi:application",
        host=host,
        port=port,
        lifespan="off",
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=int(settings.NBP_SHUTDOWN_GRACE_SECONDS),
        server_header=False,
        proxy_headers=False,
    )
    server = Server(config, on_listening=on_listening)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, server.handle_exit)
    worker = EmbeddedWorker()
    if with_worker:
        worker.start()
    try:
        server.run()
    finally:
        if with_worker:
            _end_work(server, worker)


def _end_work(server: Server, worker: EmbeddedWorker) -> None:
    """Finish what can be finished within the grace, queue the rest again, stop the worker. A second signal hurries."""
    logger.info("stopping: %d calls are out, at most %g s", loop.in_flight(), settings.NBP_SHUTDOWN_GRACE_SECONDS)
    worker.stop_consuming()
    SWEEPER.stop()
    deadline = time.monotonic() + settings.NBP_SHUTDOWN_GRACE_SECONDS
    while loop.in_flight() and time.monotonic() < deadline and not server.force_exit:
        time.sleep(0.05)
    if loop.in_flight():
        logger.warning("%d calls are broken off and queued again", loop.in_flight())
    loop.cancel_all(5)
    worker.stop()
    execution.stop_heartbeat()
    loop.stop()
