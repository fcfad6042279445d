"""The message that a worker sends itself."""

from __future__ import annotations

from celery import shared_task

from nbp_site.operating import probing


@shared_task(name=probing.TASK)
def probe(*, worker: str, **_: object) -> None:
    """Note that it came."""
    probing.PROBE.arrived(worker)
