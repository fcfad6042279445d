"""The hourly round of forgetting: one worker looks after what all share, each of them after its own disk."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from importlib import import_module

from django.conf import settings
from django.contrib.sessions.models import Session
from django.db.models.functions import Now

from accounts.payments import inbox
from generation import batches, retention, tasks
from nbp_site.models import WorkerProbe
from nbp_site.operating import probing
from nbp_site.operating.probe_queue import own_name

_EVERY_SECONDS = 3600.0
# Forgetting waits between its batches, so that sweeping does not wait for it.
_AGAIN_SECONDS = 2.0


def purge_some() -> float:
    """A batch of everything, from the sweeper. Answers in how many seconds the next one is due."""
    if not _is_senior():
        tasks.purge(with_retention=False)
        # The senior may have been killed, which shows once its row is stale: nobody forgets anything until then.
        return float(settings.NBP_WORKER_STALE_SECONDS)
    probing.forget_the_gone()
    _forget_sessions()
    is_more = batches.purge(now=datetime.now(UTC))
    return _AGAIN_SECONDS if tasks.purge(with_retention=True) or is_more else _EVERY_SECONDS


def purge_all() -> None:
    """Everything, whoever else does it too."""
    _forget_sessions()
    while inbox.forget(now=datetime.now(UTC)):
        pass
    while batches.purge(now=datetime.now(UTC)):
        pass
    while tasks.purge(with_retention=True):
        pass


def overdue(*, now: datetime) -> dict[str, int]:
    """What would be forgotten, by kind."""
    return retention.overdue(now=now) | {
        "event_bodies": inbox.overdue(now=now),
        "sessions": Session.objects.filter(expire_date__lt=now).count(),
    }


def _forget_sessions() -> None:
    import_module(settings.SESSION_ENGINE).SessionStore.clear_expired()


def _is_senior() -> bool:
    """Whether this is the longest-serving of the workers that live: one walk through all files is enough."""
    since = Now() - timedelta(seconds=settings.NBP_WORKER_STALE_SECONDS)
    living = WorkerProbe.objects.filter(seen_at__gte=since).order_by("started_at", "name")
    return living.values_list("pk", flat=True).first() == own_name()
