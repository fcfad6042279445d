"""Proof that messages still reach this worker process, written to its row; and its end when they no longer do.

A process that is up, with a live sweeper, may have a consumer that hears nothing any more: only a message that comes
back says otherwise.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from datetime import timedelta

from celery import current_app
from django.conf import settings
from django.db.models.functions import Now
from kombu.exceptions import OperationalError

from accounts.transactions import write_transaction
from generation.egress import loop
from nbp_site.models import WorkerProbe
from nbp_site.operating import probe_queue
from nbp_site.operating.probe_queue import TASKS

logger = logging.getLogger(__name__)
TASK = "nbp_site.probe"
# So many probes fit into the time after which a worker counts as stalled.
_PROBES_WITHIN_STALE = 4
_GONE_AFTER = timedelta(hours=1)
# Both halves of an orderly stop, and some.
_STOP_MARGIN_SECONDS = 15.0


class Probe:
    """This process's own. `step` is called by the sweeper all the time, `arrived` by the task that a probe is."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next_at = 0.0
        self._waiting_since: float | None = None
        self._is_ending = False

    @property
    def stalled_seconds(self) -> float:
        """For how long probes that the broker took have not come back."""
        since = self._waiting_since
        return 0.0 if since is None else self._clock() - since

    @property
    def is_stalled(self) -> bool:
        return self.stalled_seconds > float(settings.NBP_WORKER_STALE_SECONDS)

    def step(self) -> None:
        """Send a probe and write the row, if it is time; end the process if it has been deaf for too long."""
        if self._clock() < self._next_at:
            return
        self._next_at = self._clock() + settings.NBP_WORKER_STALE_SECONDS / _PROBES_WITHIN_STALE
        self._send()
        if TASKS.is_full:
            # A probe waits its turn behind work. Calls have deadlines of their own, so full threads do not stay full.
            self._waiting_since = None
            self._beat()
        self._write()
        self._complain()

    def arrived(self, name: str) -> None:
        """A probe of this process has come the whole way."""
        if name == probe_queue.own_name():
            self._waiting_since = None
            self._beat()

    def _send(self) -> None:
        name = probe_queue.own_name()
        sent_at = self._clock()
        try:
            current_app.send_task(
                TASK,
                kwargs={"worker": name},
                queue=probe_queue.queue_of(name),  # type: ignore[arg-type]
                expires=settings.NBP_WORKER_STALE_SECONDS,
                retry=False,
            )
        except (OperationalError, OSError) as error:
            # A broker that is down is no fault of this process: it is not stalled, it has nobody to hear.
            logger.debug("no probe can be sent: %s", error)
            self._waiting_since = None
            return
        if self._waiting_since is None:
            self._waiting_since = sent_at

    def _beat(self) -> None:
        with write_transaction():
            WorkerProbe.objects.filter(pk=probe_queue.own_name()).update(beaten_at=Now())

    def _write(self) -> None:
        rows = WorkerProbe.objects.filter(pk=probe_queue.own_name())
        state = {"calls_in_flight": loop.in_flight(), "is_stalled": self.is_stalled}
        with write_transaction():
            if not rows.update(seen_at=Now(), **state):
                WorkerProbe.objects.create(
                    name=probe_queue.own_name(),
                    host=socket.gethostname(),
                    pid=os.getpid(),
                    started_at=Now(),
                    seen_at=Now(),
                    **state,
                )

    def _complain(self) -> None:
        if not self.is_stalled:
            return
        logger.error("no message has reached this worker for %.0f s", self.stalled_seconds)
        patience = settings.NBP_WORKER_STALLED_EXIT_SECONDS
        if patience and self.stalled_seconds > patience and not self._is_ending:
            self._is_ending = True
            end_process()


def end_process() -> None:
    """Ask this process to stop in order, and make sure of it: its supervisor starts a new one."""
    logger.critical("this worker ends itself, so that its supervisor starts it again")
    seconds = 2 * settings.NBP_SHUTDOWN_GRACE_SECONDS + _STOP_MARGIN_SECONDS
    last_resort = threading.Timer(seconds, os._exit, args=(70,))
    last_resort.daemon = True
    last_resort.start()
    os.kill(os.getpid(), signal.SIGTERM)


def say_goodbye() -> None:
    """The process stops in order: it is not gone, it has ended."""
    with write_transaction():
        WorkerProbe.objects.filter(pk=probe_queue.own_name()).delete()


def forget_the_gone() -> None:
    """Remove rows and queues of processes that have not been seen for an hour."""
    gone = WorkerProbe.objects.filter(seen_at__lt=Now() - _GONE_AFTER)
    for name in gone.values_list("pk", flat=True):
        probe_queue.forget(name, settings.NBP_BROKER_URL)
        WorkerProbe.objects.filter(pk=name).delete()


PROBE = Probe()
