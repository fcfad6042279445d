"""The night's comparison with Stripe: once a day, by whichever worker comes first; after a failure again in an hour."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from django.db.models import Q

from accounts.payments import connection, reconciliation
from accounts.payments.models import ReconciliationRun
from accounts.payments.reconciliation import Report

_HOUR = 3
_AGAIN = timedelta(hours=1)


def run_if_due(*, now: datetime) -> ReconciliationRun | None:
    """From three o'clock UTC on. None where it is done, somebody else does it, or there is nothing to compare with."""
    day = now.astimezone(UTC).date()
    if connection.current() is None:
        return None
    urgent = ReconciliationRun.objects.filter(is_urgent=True, finished_at=None).first()
    if urgent is not None:
        return _claimed(urgent, now=now)
    if now.astimezone(UTC).hour < _HOUR:
        return None
    row, is_new = ReconciliationRun.objects.get_or_create(day=day, defaults={"started_at": now})
    return _run(row, now=now) if is_new else _claimed(row, now=now)


def _claimed(row: ReconciliationRun, *, now: datetime) -> ReconciliationRun | None:
    """Take a run up that somebody began and did not finish, or made by hand before the night's hour."""
    hour = now.astimezone(UTC).replace(hour=_HOUR, minute=0, second=0, microsecond=0)
    is_waiting = Q(finished_at=None, started_at__lt=now - _AGAIN) | Q(finished_at__lt=min(hour, now))
    waiting = ReconciliationRun.objects.filter(is_waiting, pk=row.pk)
    return _run(row, now=now) if waiting.update(started_at=now, finished_at=None) else None


def ask_for_one(*, now: datetime) -> None:
    """After a restore: compare with Stripe as soon as a worker is there, and charge no saved card before."""
    ReconciliationRun.objects.update_or_create(
        day=now.astimezone(UTC).date(),
        defaults={"is_urgent": True, "started_at": now - 2 * _AGAIN, "finished_at": None, "error": ""},
    )


def run_by_hand(*, now: datetime, days: int) -> Report:
    """A comparison that somebody asked for; it counts as the day's. Raises NotReconciled."""
    row, _ = ReconciliationRun.objects.get_or_create(day=now.astimezone(UTC).date(), defaults={"started_at": now})
    report = reconciliation.reconcile(now=now, days=days)
    _note(row, report, now=now)
    return report


def _run(row: ReconciliationRun, *, now: datetime) -> ReconciliationRun:
    try:
        _note(row, reconciliation.reconcile(now=now), now=now)
    except reconciliation.NotReconciled as error:
        row.error, row.started_at = str(error)[:500], now
        row.save()
    return row


def _note(row: ReconciliationRun, report: Report, *, now: datetime) -> None:
    row.error, row.started_at, row.finished_at = "", now, max(now, datetime.now(UTC))
    row.payments_checked, row.events_fetched = report.payments_checked, report.events_fetched
    row.credited_now, row.drift_count = report.credited_now, len(report.differences)
    row.save()
