"""A queue of this worker process's own, read by the very consumer that reads the work.

A message that arrives over it has come the whole way: broker, connection, consumer, pool. On the shared queue a probe
could be taken by any worker, and would say nothing about the others.
"""

from __future__ import annotations

import functools
import logging
import os
import secrets
import socket
from typing import Any

from celery import bootsteps
from celery.signals import task_postrun, task_prerun
from kombu import Connection, Exchange, Queue

logger = logging.getLogger(__name__)
_FORGOTTEN_AFTER_SECONDS = 3600


@functools.cache
def _name_of(pid: int) -> str:
    return f"{socket.gethostname()[:50]}.{pid}.{secrets.token_hex(4)}"


def own_name() -> str:
    """What this process is called among the workers; a process id alone is used again."""
    return _name_of(os.getpid())


def queue_of(name: str) -> Queue:
    """The probe queue of a worker. Where the broker can, it goes away with its reader."""
    return Queue(
        f"nbp.probe.{name}",
        Exchange("", type="direct", delivery_mode="transient"),
        routing_key=f"nbp.probe.{name}",
        auto_delete=True,
        expires=_FORGOTTEN_AFTER_SECONDS,
    )


def forget(name: str, broker_url: str) -> None:
    """Drop what a dead worker's queue still holds."""
    try:
        with Connection(broker_url, connect_timeout=2) as connection:
            channel: Any = connection.default_channel
            channel.queue_purge(queue_of(name).name)
    except Exception as error:  # noqa: BLE001
        # On RabbitMQ the queue has gone by itself, which is an error to hear and the aim all the same.
        logger.debug("the probe queue of %s: %s", name, error)


class ReadsProbes(bootsteps.StartStopStep):
    """Makes the worker's consumer read its own probe queue too, again after each reconnection."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, parent: Any) -> None:
        TASKS.capacity = parent.pool.limit or TASKS.capacity
        # Reading begins with the worker's loop: before it, a message that waits at the broker finds nobody to take it.
        parent.task_consumer.add_queue(queue_of(own_name()))


class Tasks:
    """How many tasks this process runs at the moment, and how many it can."""

    def __init__(self) -> None:
        self.running: set[str] = set()
        self.capacity = 1

    @property
    def is_full(self) -> bool:
        return len(self.running) >= self.capacity

    def began(self, task_id: str, **_: Any) -> None:
        self.running.add(task_id)

    def ended(self, task_id: str, **_: Any) -> None:
        self.running.discard(task_id)


TASKS = Tasks()
task_prerun.connect(TASKS.began)
task_postrun.connect(TASKS.ended)
