"""A Celery worker inside this process, for the one-command installation."""

from __future__ import annotations

import logging
import threading
from typing import Any

from generation.channels import registry
from nbp_site.celery import app
from nbp_site.sweeper import SWEEPER

logger = logging.getLogger(__name__)


class EmbeddedWorker:
    """Celery's own WorkController in a thread. Without a finalized, current app every task dies in silence."""

    def __init__(self) -> None:
        self._worker: Any = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        app.finalize()
        app.set_current()
        app.set_default()
        app.loader.import_default_modules()
        registry.load()
        self._worker = app.WorkController(pool="threads", concurrency=app.conf.worker_concurrency, loglevel="WARNING")
        self._thread = threading.Thread(target=self._worker.start, name="worker", daemon=True)
        self._thread.start()
        # A WorkController of our own does not send worker_ready, which starts the sweeper elsewhere.
        SWEEPER.start()

    def stop_consuming(self) -> None:
        """Take no further messages; what runs goes on."""
        consumer = getattr(self._worker, "consumer", None)
        task_consumer = getattr(consumer, "task_consumer", None)
        if task_consumer is not None:
            task_consumer.cancel()

    def stop(self) -> None:
        if self._worker is not None:
            self._worker.stop()
        if self._thread is not None:
            self._thread.join(timeout=5)
