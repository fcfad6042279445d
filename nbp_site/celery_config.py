"""Celery's settings, read when Celery first needs them."""

from __future__ import annotations

from typing import Any

from django.conf import settings


def _transport_options(url: str) -> dict[str, Any]:
    if url.startswith("memory://"):
        return {"polling_interval": 0.05}
    if url.startswith("redis"):
        # A lost nudge is sent again, so that no copy of each need be kept in Redis until it is taken; nor does any of
        # them come before another.
        return {"ack_emulation": False, "priority_steps": [0], "socket_timeout": 5, "socket_connect_timeout": 2}
    return {"confirm_publish": True}


broker_url = settings.NBP_BROKER_URL
broker_transport_options = _transport_options(settings.NBP_BROKER_URL)
broker_connection_timeout = 2
broker_connection_retry_on_startup = True
task_serializer = "json"
accept_content = ["json"]
task_ignore_result = True
# The lease in the database recovers lost work, not the broker; a message is only a nudge.
task_acks_late = False
task_reject_on_worker_lost = False
task_default_queue = "generation"
task_publish_retry = False
worker_prefetch_multiplier = 1
worker_pool = "threads"
worker_concurrency = settings.NBP_WORKER_THREADS
worker_hijack_root_logger = False
worker_enable_remote_control = False
worker_send_task_events = False
