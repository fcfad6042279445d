"""Money that people move by hand, each time with an actor and a reason: grants and corrections.

Used by commands, the admin and sign-up.
"""

from __future__ import annotations

import uuid
from datetime import datetime

from accounts.ledger.models import Entry, Lot, Wallet
from accounts.ledger.operations import InsufficientFunds, Posting, move
from accounts.models import Account
from accounts.transactions import write_transaction


class AdjustmentRefused(Exception):
    """Why an adjustment was not made, in a sentence for the operator."""


def grant(
    *,
    account: Account,
    mode: str,
    amount_micros: int,
    actor: str,
    reason: str,
    now: datetime,
    idempotency_key: str = "",
    expires_at: datetime | None = None,
) -> Entry:
    """Give promotional credit. With an idempotency key, once."""
    return _move(
        account, mode, "grant", amount_micros, actor, reason, now, idempotency_key, Lot.Kind.PROMOTIONAL, expires_at
    )


def adjust(
    *,
    account: Account,
    mode: str,
    amount_micros: int,
    actor: str,
    reason: str,
    now: datetime,
    idempotency_key: str = "",
) -> Entry:
    """Correct a balance up (positive) or down (negative). Money on hold stays out of reach."""
    kind = "adjust_up" if amount_micros > 0 else "adjust_down"
    return _move(account, mode, kind, abs(amount_micros), actor, reason, now, idempotency_key, Lot.Kind.PAID, None)


def _move(
    account: Account,
    mode: str,
    kind: str,
    amount_micros: int,
    actor: str,
    reason: str,
    now: datetime,
    idempotency_key: str,
    lot_kind: str,
    expires_at: datetime | None,
) -> Entry:
    if amount_micros <= 0:
        raise AdjustmentRefused("The amount must not be zero.")
    if not reason.strip():
        raise AdjustmentRefused("Say why: a reason is kept with the entry.")
    wallet = Wallet.objects.get(account=account, mode=mode)
    posting = Posting(kind, amount_micros, idempotency_key or f"{kind}:{uuid.uuid4()}", actor=actor, reason=reason)
    try:
        with write_transaction():
            return move(wallet=wallet, posting=posting, now=now, lot_kind=lot_kind, expires_at=expires_at)
    except InsufficientFunds as error:
        raise AdjustmentRefused("The wallet has less than that available.") from error
