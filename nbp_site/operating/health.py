"""Is this installation fit for work? Each check answers within seconds; no answer holds a secret."""

from __future__ import annotations

import contextlib
import functools
import logging
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import redis
from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models import QuerySet
from django.db.models.functions import Now
from kombu import Connection

from accounts.ledger import triggers as ledger_triggers
from accounts.payments import triggers as payment_triggers
from generation import media, triggers
from nbp_site.models import WorkerProbe

logger = logging.getLogger(__name__)
_PATIENCE_SECONDS = 5.0
_RECENT_SECONDS = 1.0


class Unfit(Exception):
    """Why a check failed, in words for the operator."""


class Excused(Unfit):
    """A failure whose cause another check names, and which does not make the service unfit."""


@dataclass(frozen=True, slots=True)
class Check:
    """One check: without a required one the service cannot keep its promises, without another it is slower."""

    name: str
    look: Callable[[], None]
    is_required: bool = True


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found, and how long it took."""

    name: str
    is_ok: bool
    is_required: bool
    seconds: float
    reason: str = ""


def _database() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def _migrations() -> None:
    executor = MigrationExecutor(connection)
    missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if missing:
        raise Unfit(f"{len(missing)} migrations are not applied; run manage.py migrate")


def _triggers() -> None:
    guards = (ledger_triggers.GUARDS, payment_triggers.GUARDS, triggers.GUARDS)
    missing = [name for each in guards for name in each.missing(connection)]
    if missing:
        raise Unfit(f"triggers are missing: {', '.join(missing)}; run manage.py migrate")


def _media() -> None:
    name = f".ready-{uuid.uuid4().hex}"
    try:
        default_storage.save(name, ContentFile(b"ready"))
    finally:
        # A disk that is full takes a name, but nothing under it.
        default_storage.delete(name)
    with contextlib.suppress(NotImplementedError):
        _room(Path(default_storage.path("")))


def _spool() -> None:
    path = media.spool_directory() / f".ready-{uuid.uuid4().hex}"
    try:
        path.write_bytes(b"ready")
    finally:
        path.unlink(missing_ok=True)
    _room(path.parent)


def _room(folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < settings.NBP_MIN_FREE_BYTES:
        raise Unfit(f"{free} bytes are free, fewer than NBP_MIN_FREE_BYTES")


def _broker() -> None:
    with Connection(settings.NBP_BROKER_URL, connect_timeout=2) as broker:
        broker.ensure_connection(max_retries=1, interval_start=0, timeout=2)


def _redis() -> None:
    if settings.NBP_REDIS_URL:
        with redis.Redis.from_url(settings.NBP_REDIS_URL, socket_timeout=2, socket_connect_timeout=2) as client:
            client.ping()


def _worker() -> None:
    if fresh_workers().exists():
        return
    try:
        _broker()
    except Exception as error:
        # No probe can travel. What is accepted now runs when the broker is back.
        raise Excused("no probe can travel while the broker is down") from error
    raise Unfit("no worker has proved that messages reach it; is one running?")


def fresh_workers() -> QuerySet[WorkerProbe]:
    """Workers that a message has reached lately."""
    since = Now() - timedelta(seconds=settings.NBP_WORKER_STALE_SECONDS)
    return WorkerProbe.objects.filter(beaten_at__gte=since)


# The checks of a group share a thread, and with it a database connection.
_GROUPS = (
    (
        Check("database", _database),
        Check("migrations", _migrations),
        Check("triggers", _triggers),
        Check("worker", _worker),
    ),
    (Check("media", _media),),
    (Check("spool", _spool),),
    (Check("broker", _broker, is_required=False),),
    (Check("redis", _redis, is_required=False),),
)
# What an asker may leave out: a web process serves what exists, whether or not anybody works.
EXCLUDABLE = frozenset({"worker"})


@functools.cache
def _executor() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(len(_GROUPS), thread_name_prefix="health")


def look(*, exclude: Collection[str] = (), patience_seconds: float = _PATIENCE_SECONDS) -> list[Finding]:
    """Make all checks but some, at once. One that does not answer in time has failed."""
    wanted = [[check for check in group if check.name not in exclude] for group in _GROUPS]
    found: dict[str, Finding] = {}
    wait([_executor().submit(_look_at, group, found) for group in wanted if group], timeout=patience_seconds)
    late = f"no answer within {patience_seconds:g} s"
    return [
        found.get(check.name) or Finding(check.name, False, check.is_required, patience_seconds, late)
        for group in wanted
        for check in group
    ]


def _look_at(checks: Sequence[Check], found: dict[str, Finding]) -> None:
    try:
        for check in checks:
            found[check.name] = _find(check)
    finally:
        connection.close()


def _find(check: Check) -> Finding:
    started, is_required, reason = time.perf_counter(), check.is_required, ""
    try:
        check.look()
    except Excused as error:
        is_required, reason = False, str(error)
    except Unfit as error:
        reason = str(error)
    except Exception as error:  # noqa: BLE001
        # Whatever it is, the check has failed. Its words may name hosts and users; the log has them, an answer has not.
        logger.warning("the check of %s failed: %s", check.name, error)
        reason = type(error).__name__
    return Finding(check.name, not reason, is_required, time.perf_counter() - started, reason)


class Recent:
    """Findings that are at most a second old: strangers may ask as often as they like."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[frozenset[str], tuple[float, list[Finding]]] = {}

    def look(self, exclude: Collection[str]) -> list[Finding]:
        key = EXCLUDABLE & frozenset(exclude)
        with self._lock:
            at, findings = self._known.get(key, (float("-inf"), []))
            if time.monotonic() - at > _RECENT_SECONDS:
                _tell_of_change(findings, findings := look(exclude=key))
                self._known[key] = (time.monotonic(), findings)
            return findings


def _tell_of_change(before: Sequence[Finding], after: Sequence[Finding]) -> None:
    """A line when the service becomes fit or unfit, not one for each time somebody asks."""
    names = [{each.name for each in findings if not each.is_ok} for findings in (before, after)]
    if names[0] != names[1]:
        logger.warning("the service is %s: %s", verdict(after), ", ".join(sorted(names[1])) or "all checks are passed")


RECENT = Recent()


def verdict(findings: Sequence[Finding]) -> str:
    """`ready`, `degraded` (slower, but every promise is kept) or `unready`."""
    failed = [each for each in findings if not each.is_ok]
    if any(each.is_required for each in failed):
        return "unready"
    return "degraded" if failed else "ready"
