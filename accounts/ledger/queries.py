"""Reads of money: wallets, statements and a key's budget."""

from __future__ import annotations

import uuid
from datetime import datetime

from django.db.models import QuerySet

from accounts.ledger.budgets import owner_id, period_start
from accounts.ledger.models import BudgetPeriod, Entry, Wallet
from accounts.models import ApiKey


def wallet_of(account_id: uuid.UUID, mode: str) -> Wallet:
    """The account's wallet of that mode."""
    return Wallet.objects.get(account_id=account_id, mode=mode)


def statement(account_id: uuid.UUID, mode: str) -> QuerySet[Entry]:
    """The wallet's entries, newest first, with the hold each belongs to."""
    rows = Entry.objects.filter(wallet_id=wallet_of(account_id, mode).pk)
    return rows.select_related("hold").order_by("-sequence")


def first_sequence_since(account_id: uuid.UUID, mode: str, moment: datetime) -> int:
    """The number of the wallet's first entry at or after a moment; entries are written in the order of time."""
    rows = Entry.objects.filter(wallet_id=wallet_of(account_id, mode).pk)
    low, high = 1, (rows.order_by("-sequence").values_list("sequence", flat=True).first() or 0) + 1
    while low < high:
        middle = (low + high) // 2
        created_at = rows.values_list("created_at", flat=True).get(sequence=middle)
        low, high = (low, middle) if created_at >= moment else (middle + 1, high)
    return low


def budget_of(api_key: ApiKey, *, now: datetime) -> BudgetPeriod | None:
    """The key's running budget period, or None if it has no budget or has not used it yet."""
    if api_key.budget_micros is None:
        return None
    starts_at = period_start(api_key.budget_period, now)
    return BudgetPeriod.objects.filter(api_key_id=owner_id(api_key), starts_at=starts_at).first()
