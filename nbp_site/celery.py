"""The Celery application. Its messages are nudges: losing all of them costs seconds, not images."""

from __future__ import annotations

import os
import threading
import uuid
from typing import Any

from celery import Celery
from celery.signals import task_postrun, task_prerun, worker_ready, worker_shutdown, worker_shutting_down
from django.conf import settings

from accounts import request_context
from accounts.identifiers import public_id
from nbp_site import memory
from nbp_site.operating.probe_queue import ReadsProbes

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "nbp_site.settings")
# Every process of the service comes by here before it starts a thread.
memory.share_one_arena()


app = Celery("nbp")
app.config_from_object("nbp_site.celery_config")
app.Task.Strategy = "nbp_site.strangers:strategy"
app.autodiscover_tasks(["accounts.payments", "generation", "nbp_site.operating"])
app.steps["consumer"].add(ReadsProbes)


@task_prerun.connect
def _name_the_work(kwargs: dict[str, Any], **_: Any) -> None:
    """Log lines of a task say which output it is about."""
    output_id = kwargs.get("output_id")
    request_context.begin_work(**({"output": public_id("out", uuid.UUID(output_id))} if output_id else {}))


@task_postrun.connect
def _forget_the_work(**_: Any) -> None:
    request_context.end_work()


@worker_ready.connect
def _start_sweeper(**_: Any) -> None:
    from generation.channels import registry
    from nbp_site.operating import tracing, worker_metrics
    from nbp_site.sweeper import SWEEPER

    registry.load()
    memory.settle()
    tracing.start()
    SWEEPER.start()
    worker_metrics.serve()


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
