"""The night's comparison with Stripe: once a day, by whichever worker comes first; after a failure again in an hour."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from accounts.payments import connection, reconciliation
from accounts.payments.models import ReconciliationRun

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
    """Take a run up that somebody began and did not finish."""
    waiting = ReconciliationRun.objects.filter(pk=row.pk, finished_at=None, started_at__lt=now - _AGAIN)
    return _run(row, now=now) if waiting.update(started_at=now) else None


def ask_for_one(*, now: datetime) -> None:
    """After a restore: compare with Stripe as soon as a worker is there, and charge no saved card before."""
    ReconciliationRun.objects.update_or_create(
        day=now.astimezone(UTC).date(),
        defaults={"is_urgent": True, "started_at": now - 2 * _AGAIN, "finished_at": None, "error": ""},
    )


def _run(row: ReconciliationRun, *, now: datetime) -> ReconciliationRun:
    try:
        report = reconciliation.reconcile(now=now)
    except reconciliation.NotReconciled as error:
        row.error = str(error)[:500]
    else:
        row.error, row.finished_at = "", datetime.now(UTC)
        row.payments_checked, row.events_fetched = report.payments_checked, report.events_fetched
        row.credited_now, row.drift_count = report.credited_now, len(report.differences)
    row.started_at = now
    row.save()
    return row
