"""What owners are told by mail: a low balance, and how much of a budget or of the month's limit is used."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Avg, F, Q, QuerySet

from accounts.ledger.budgets import period_start
from accounts.ledger.limits import month_of
from accounts.ledger.models import BudgetPeriod, Hold, SpendingPeriod, Wallet
from accounts.models import Account, ApiKey
from accounts.money import usd
from accounts.notices import outbox
from accounts.transactions import write_transaction

_STEPS = (100, 80, 50)
_LONGEST = timedelta(days=32)


@dataclass(frozen=True, slots=True)
class _Use:
    """How much of something is used: a key's budget or an account's month."""

    account: Account
    name: str
    subject: str
    used_micros: int
    limit_micros: int
    holds: QuerySet[Hold]

    def step(self) -> int | None:
        """The highest step that is reached. It is all used when what is left pays for no image like those before."""
        percent = self.used_micros * 100 // self.limit_micros
        step = next((each for each in _STEPS if percent >= each), None)
        if step is None or step == _STEPS[0]:
            return step
        usual = self.holds.aggregate(usual=Avg("authorized_micros"))["usual"] or 0
        return _STEPS[0] if self.limit_micros - self.used_micros < usual else step


def watch(*, now: datetime) -> None:
    """Write down the mails that are due. Each is told once."""
    _watch_balances(now=now)
    for use in (*_budgets(now), *_months(now)):
        _tell_of_use(use, now=now)


def _watch_balances(*, now: datetime) -> None:
    limited = Wallet.objects.exclude(low_balance_micros=None)
    limited.filter(is_low_told=True, available_micros__gte=F("low_balance_micros")).update(is_low_told=False)
    low = limited.filter(is_low_told=False, available_micros__lt=F("low_balance_micros"))
    for wallet in low.select_related("account")[:50]:
        with write_transaction():
            if Wallet.objects.filter(pk=wallet.pk, is_low_told=False).update(is_low_told=True):
                outbox.tell(
                    wallet.account,
                    key=f"low_balance:{wallet.pk}:{wallet.head_sequence}",
                    subject="Your balance is low",
                    body=f"{usd(wallet.available_micros)} are left in the {wallet.mode} wallet.\n"
                    f"Top up: {outbox.link('/billing/')}\n",
                    now=now,
                )


def _budgets(now: datetime) -> Iterator[_Use]:
    """Keys whose running period is used by half or more."""
    recent = Q(starts_at__gte=now - _LONGEST) | Q(api_key__budget_period=ApiKey.Period.NONE)
    rows = BudgetPeriod.objects.filter(recent, spent_micros__gte=F("limit_micros") / 2, limit_micros__gt=0)
    for row in rows.filter(api_key__revoked_at=None).select_related("api_key__account")[:500]:
        key = row.api_key
        if row.starts_at == period_start(key.budget_period, now):
            name = f"budget:{row.pk}:{row.limit_micros}"
            period = "" if key.budget_period == ApiKey.Period.NONE else f" ({key.budget_period})"
            subject, holds = f"budget of key {key.name}{period}", Hold.objects.filter(budget_period=row)
            yield _Use(key.account, name, subject, row.spent_micros, row.limit_micros, holds)


def _months(now: datetime) -> Iterator[_Use]:
    rows = SpendingPeriod.objects.filter(starts_at=month_of(now)).exclude(wallet__monthly_limit_micros=None)
    for row in rows.select_related("wallet__account"):
        limit_micros = row.wallet.monthly_limit_micros or 0
        if limit_micros:
            subject = f"{row.wallet.mode} spending limit of this month"
            name, holds = f"month:{row.pk}:{limit_micros}", Hold.objects.filter(wallet=row.wallet)
            holds = holds.filter(created_at__gte=row.starts_at)
            yield _Use(row.wallet.account, name, subject, row.spent_micros, limit_micros, holds)


def _tell_of_use(use: _Use, *, now: datetime) -> None:
    """One mail at the highest step that is reached; the lower ones are not made up for."""
    step = use.step()
    if step is None:
        return
    outbox.tell(
        use.account,
        key=f"{use.name}:{step}",
        subject=f"{step} % of the {use.subject} is used"[:200],
        body=f"{usd(use.used_micros)} of {usd(use.limit_micros)} are spent. What does not fit any more is refused.\n"
        f"Budgets of keys: {outbox.link('/keys/')}\nSpending limit: {outbox.link('/billing/')}\n",
        now=now,
    )
