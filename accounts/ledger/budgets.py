"""A key's budget: a row moved in the same transaction as the hold, so that it is a hard cap."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from django.db.models import F

from accounts.ledger.models import BudgetPeriod
from accounts.models import ApiKey

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class BudgetExceeded(Exception):
    """The key's budget for this period does not cover the quote."""


def period_start(period: str, now: datetime) -> datetime:
    """When the budget period that contains `now` began: 00:00 UTC of the day, the Monday or the first of the month."""
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if period == ApiKey.Period.DAILY:
        return midnight
    if period == ApiKey.Period.WEEKLY:
        return midnight - timedelta(days=midnight.weekday())
    if period == ApiKey.Period.MONTHLY:
        return midnight.replace(day=1)
    return _EPOCH


def owner_id(api_key: ApiKey) -> uuid.UUID:
    """The key whose budget a key draws on: the first of its rotation, or itself."""
    return api_key.budget_owner_id or api_key.pk


def reserve(api_key: ApiKey, amount_micros: int, *, now: datetime) -> BudgetPeriod | None:
    """Set part of a key's budget aside. None for a key without a budget; BudgetExceeded if it does not fit."""
    if api_key.budget_micros is None:
        return None
    starts_at = period_start(api_key.budget_period, now)
    row, _ = BudgetPeriod.objects.get_or_create(
        api_key_id=owner_id(api_key), starts_at=starts_at, defaults={"limit_micros": api_key.budget_micros}
    )
    fits = F("reserved_micros") + F("spent_micros") + amount_micros
    changed = BudgetPeriod.objects.filter(pk=row.pk, limit_micros__gte=fits).update(
        reserved_micros=F("reserved_micros") + amount_micros
    )
    if not changed:
        raise BudgetExceeded
    return row


def settle(ended: Mapping[int | None, tuple[int, int]]) -> None:
    """Turn what was reserved into what was spent; the difference is free again. Period -> (reserved, spent)."""
    for period_id in sorted(each for each in ended if each is not None):
        reserved_micros, spent_micros = ended[period_id]
        BudgetPeriod.objects.filter(pk=period_id).update(
            reserved_micros=F("reserved_micros") - reserved_micros, spent_micros=F("spent_micros") + spent_micros
        )


def change(api_key: ApiKey, *, budget_micros: int | None, now: datetime) -> None:
    """Give a key another budget, also for the period that runs. It never falls below what is reserved and spent."""
    ApiKey.objects.filter(pk=api_key.pk).update(budget_micros=budget_micros)
    if budget_micros is None:
        return
    for row in BudgetPeriod.objects.filter(
        api_key_id=owner_id(api_key), starts_at=period_start(api_key.budget_period, now)
    ):
        limit = max(budget_micros, row.reserved_micros + row.spent_micros)
        BudgetPeriod.objects.filter(pk=row.pk).update(limit_micros=limit)
