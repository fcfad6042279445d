"""An account's monthly spending limit: a row moved in the transaction of the hold, so that it is a hard cap.

The wallet is locked by whoever calls, so a look and the write after it are one step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.db.models import F, Q, Sum

from accounts.ledger.models import Hold, SpendingPeriod, Wallet


class SpendingLimitExceeded(Exception):
    """The account's spending limit for this month does not cover the quote."""


def month_of(moment: datetime) -> datetime:
    """The first of its month, 00:00 UTC."""
    return moment.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def check(wallet: Wallet, amount_micros: int, *, now: datetime) -> None:
    """Raises SpendingLimitExceeded, and writes nothing, if the amount does not fit into the wallet's month."""
    if wallet.monthly_limit_micros is None or not amount_micros:
        return
    row = period_of(wallet, now=now)
    used = row.reserved_micros + row.spent_micros if row else 0
    if used + amount_micros > wallet.monthly_limit_micros:
        raise SpendingLimitExceeded


def reserve(wallet: Wallet, amount_micros: int, *, now: datetime) -> None:
    """Count an amount that was checked."""
    if wallet.monthly_limit_micros is None:
        return
    row, _ = SpendingPeriod.objects.get_or_create(wallet=wallet, starts_at=month_of(now))
    SpendingPeriod.objects.filter(pk=row.pk).update(reserved_micros=F("reserved_micros") + amount_micros)


def settle(wallets: Sequence[Wallet], ended: Sequence[Hold], captured: Mapping[UUID, int]) -> None:
    """Turn what was reserved for these holds into what was spent, in the months they were made in."""
    limited = {wallet.pk for wallet in wallets if wallet.monthly_limit_micros is not None}
    for row in ended:
        if row.wallet_id in limited:
            SpendingPeriod.objects.filter(wallet_id=row.wallet_id, starts_at=month_of(row.created_at)).update(
                reserved_micros=F("reserved_micros") - row.authorized_micros,
                spent_micros=F("spent_micros") + captured[row.output_id],
            )


def period_of(wallet: Wallet, *, now: datetime) -> SpendingPeriod | None:
    """What the wallet reserved and spent this month; None if it has no limit or spent nothing."""
    return SpendingPeriod.objects.filter(wallet_id=wallet.pk, starts_at=month_of(now)).first()


def count_anew(wallet: Wallet, *, now: datetime) -> None:
    """Begin to count: a limit that is set in the middle of a month counts the whole of it."""
    SpendingPeriod.objects.filter(wallet=wallet).delete()
    since = month_of(now)
    until = month_of(since + timedelta(days=32))
    sums = Hold.objects.filter(wallet=wallet, created_at__gte=since, created_at__lt=until).aggregate(
        reserved=Sum("authorized_micros", filter=Q(state="open")), spent=Sum("captured_micros")
    )
    SpendingPeriod.objects.create(
        wallet=wallet, starts_at=since, reserved_micros=sums["reserved"] or 0, spent_micros=sums["spent"] or 0
    )
