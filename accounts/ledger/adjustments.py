"""Money that people move by hand, each time with an actor and a reason: grants, codes, corrections and limits.

Used by commands, the admin, sign-up and promotions.
"""

from __future__ import annotations

import uuid
from datetime import datetime

from accounts.ledger import limits
from accounts.ledger.models import Entry, Lot, Wallet
from accounts.ledger.operations import InsufficientFunds, Posting, locked_wallet, move
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


def give(
    *,
    account: Account,
    mode: str,
    amount_micros: int,
    reason: str,
    now: datetime,
    key: str,
    expires_at: datetime | None,
) -> Entry:
    """Promotional credit inside the caller's transaction, once for each `key`."""
    wallet = Wallet.objects.get(account=account, mode=mode)
    posting = Posting("grant", amount_micros, key, actor="system", reason=reason)
    return move(wallet=wallet, posting=posting, now=now, lot_kind=Lot.Kind.PROMOTIONAL, expires_at=expires_at)


def take_back(*, entry: Entry, reason: str, now: datetime) -> Entry | None:
    """What is left of a grant and available leaves the wallet again; inside the caller's transaction."""
    wallet = locked_wallet(entry.wallet_id)
    lot = Lot.objects.get(entry=entry)
    amount_micros = min(lot.remaining_micros, wallet.available_micros)
    if not amount_micros:
        return None
    posting = Posting("revoke", amount_micros, f"revoke:{entry.idempotency_key}", actor="system", reason=reason)
    return move(wallet=wallet, posting=posting, now=now, lots_first=[lot])


def set_spending_limit(*, account: Account, mode: str, limit_micros: int | None, now: datetime) -> None:
    """Give a wallet another monthly limit, or none. What is on hold stays, even above it."""
    with write_transaction():
        wallet = locked_wallet(Wallet.objects.get(account=account, mode=mode).pk)
        was = wallet.monthly_limit_micros
        Wallet.objects.filter(pk=wallet.pk).update(monthly_limit_micros=limit_micros)
        if limit_micros is not None and was is None:
            limits.count_anew(wallet, now=now)


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
