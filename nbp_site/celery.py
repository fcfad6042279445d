"""The Celery application. Its messages are nudges: losing all of them costs seconds, not images."""

from __future__ import annotations

import os
import threading
from typing import Any

from celery import Celery
from celery.signals import worker_ready, worker_shutdown, worker_shutting_down
from django.conf import settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "nbp_site.settings")


app = Celery("nbp")
app.config_from_object("nbp_site.celery_config")
app.autodiscover_tasks(["generation"])


@worker_ready.connect
def _start_sweeper(**_: Any) -> None:
    from nbp_site.sweeper import SWEEPER

    SWEEPER.start()


@worker_shutting_down.connect
def _end_calls(**_: Any) -> None:
    """A warm shutdown waits for calls that may take minutes: after the grace they are broken off and queued again."""
    from generation.egress import loop

    timer = threading.Timer(settings.NBP_SHUTDOWN_GRACE_SECONDS, loop.cancel_all, args=(5,))
    timer.daemon = True
    timer.start()


@worker_shutdown.connect
def _stop_sweeper(**_: Any) -> None:
    from nbp_site.sweeper import SWEEPER

    SWEEPER.stop()
