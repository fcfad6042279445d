"""A Celery worker whose consumer falls silent a moment after its start, while everything else in it lives on.

That is what a consumer has been seen to do after it lost and found its broker again.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

from celery.signals import worker_ready

from nbp_site.celery import app


@worker_ready.connect
def _go_deaf(sender: Any, **_: Any) -> None:
    threading.Timer(float(sys.argv[1]), sender.task_consumer.cancel).start()


if __name__ == "__main__":
    app.worker_main(["worker", "--pool", "threads", "--concurrency", "4", "--loglevel", "WARNING"])
