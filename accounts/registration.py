"""A new account: its row, its owner, its two wallets, and play money to try the service with."""

from __future__ import annotations

from datetime import datetime

from django.conf import settings

from accounts.ledger import adjustments, operations
from accounts.models import Account, Membership, User
from accounts.transactions import write_transaction


def open_account(*, name: str, owner: User | None, now: datetime) -> Account:
    """Open an account with a live and a test wallet, the test wallet filled with play money."""
    with write_transaction():
        account = Account.objects.create(name=name)
        if owner is not None:
            Membership.objects.create(account=account, user=owner)
        operations.open_wallets(account)
    if settings.NBP_PLAY_MONEY_MICROS:
        adjustments.grant(
            account=account,
            mode="test",
            amount_micros=settings.NBP_PLAY_MONEY_MICROS,
            actor="system",
            reason="Play money for the sandbox",
            now=now,
            idempotency_key=f"play:{account.pk}",
        )
    return account
