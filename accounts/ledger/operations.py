"""The verbs that move money: hold, capture, release, and crediting or debiting a wallet with a reason.

Each runs inside the caller's transaction, so that money moves together with the state that explains it. One posting is
one conditional UPDATE of the wallet (lock, funds check and new head in a single statement) and the entries it explains.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import connection

from accounts.ledger import budgets, lots
from accounts.ledger.models import Entry, Hold, Wallet
from accounts.ledger.postings import KINDS, LOT_MAKERS, LOT_USERS, delta
from accounts.models import Account, ApiKey
from accounts.transactions import require_transaction

_MOVE = """
UPDATE ledger_wallet
SET available_micros = available_micros + %s, held_micros = held_micros + %s, debt_micros = debt_micros + %s,
    head_sequence = head_sequence + %s
WHERE id = %s AND available_micros >= %s AND (status = 'active' OR %s)
RETURNING available_micros, held_micros, debt_micros, head_sequence
"""


class InsufficientFunds(Exception):
    """The wallet does not have that much available, or takes no new holds."""


class HoldNotOpen(Exception):
    """The hold was already captured or released; whoever did it first won."""


@dataclass(frozen=True, slots=True)
class Posting:
    """One movement to make: a kind of the posting table, micro-dollars, and the key that makes it happen once."""

    kind: str
    amount_micros: int
    idempotency_key: str
    hold: Hold | None = None
    actor: str = ""
    reason: str = ""


def open_wallets(account: Account) -> None:
    """Give an account its live and its test wallet; harmless when it has them."""
    for mode in ("live", "test"):
        Wallet.objects.get_or_create(account=account, mode=mode)


def post(wallet_id: int, postings: Sequence[Posting], *, now: datetime, must_be_active: bool = False) -> list[Entry]:
    """Move money: one UPDATE of the wallet for all postings, one INSERT for their entries, in order.

    Raises InsufficientFunds, and writes nothing, if the wallet cannot cover it (or is not active and must be).
    """
    require_transaction()
    totals = [sum(delta(posting.kind)[column] * posting.amount_micros for posting in postings) for column in range(3)]
    needed = max(0, -totals[0])
    with connection.cursor() as cursor:
        cursor.execute(_MOVE, [*totals, len(postings), wallet_id, needed, not must_be_active])
        row = cursor.fetchone()
    if row is None:
        raise InsufficientFunds
    before = [row[column] - totals[column] for column in range(3)]
    return _write_entries(wallet_id, postings, before, first_sequence=row[3] - len(postings) + 1, now=now)


def _write_entries(
    wallet_id: int, postings: Sequence[Posting], balances: list[int], *, first_sequence: int, now: datetime
) -> list[Entry]:
    entries = []
    for place, posting in enumerate(postings):
        change = delta(posting.kind)
        balances = [balance + change[column] * posting.amount_micros for column, balance in enumerate(balances)]
        sides = KINDS[posting.kind]
        entries.append(
            Entry(
                wallet_id=wallet_id,
                sequence=first_sequence + place,
                kind=posting.kind,
                source=sides.source,
                destination=sides.destination,
                amount_micros=posting.amount_micros,
                available_after_micros=balances[0],
                held_after_micros=balances[1],
                debt_after_micros=balances[2],
                hold=posting.hold,
                idempotency_key=posting.idempotency_key,
                actor=posting.actor,
                reason=posting.reason,
                created_at=now,
            )
        )
    return Entry.objects.bulk_create(entries)


def hold(
    *, account_id: uuid.UUID, mode: str, amounts: dict[uuid.UUID, int], api_key: ApiKey | None, now: datetime
) -> None:
    """Set money aside for outputs, all or none. `amounts`: output id -> micro-dollars above zero.

    Raises InsufficientFunds, or budgets.BudgetExceeded if the key's budget does not allow it.
    """
    require_transaction()
    if not amounts:
        return
    wallet = Wallet.objects.get(account_id=account_id, mode=mode)
    period = budgets.reserve(api_key, sum(amounts.values()), now=now) if api_key else None
    holds = Hold.objects.bulk_create(
        Hold(wallet=wallet, output_id=output_id, authorized_micros=amount, budget_period=period, created_at=now)
        for output_id, amount in amounts.items()
    )
    postings = [Posting("hold", each.authorized_micros, f"hold:{each.output_id}", hold=each) for each in holds]
    post(wallet.pk, postings, now=now, must_be_active=True)


def capture(*, output_id: uuid.UUID, amount_micros: int, now: datetime) -> Entry:
    """Take the price out of an output's hold and give the rest back. Raises HoldNotOpen if it was settled before."""
    require_transaction()
    row = Hold.objects.get(output_id=output_id)
    rest = row.authorized_micros - amount_micros
    _close(row, state="captured", captured_micros=amount_micros, released_micros=rest, settled_at=now)
    postings = [Posting("capture", amount_micros, f"capture:{output_id}", hold=row)]
    if rest:
        postings.append(Posting("release", rest, f"release:{output_id}", hold=row))
    # The budget comes before the wallet, here as in `hold`: one order of locks, no deadlock.
    budgets.settle(row.budget_period_id, reserved_micros=row.authorized_micros, spent_micros=amount_micros)
    entries = post(row.wallet_id, postings, now=now)
    lots.use(entries[0])
    return entries[0]


def release(*, output_id: uuid.UUID, now: datetime) -> Entry:
    """Give an output's whole hold back. Raises HoldNotOpen if it was settled before."""
    require_transaction()
    row = Hold.objects.get(output_id=output_id)
    _close(row, state="released", captured_micros=0, released_micros=row.authorized_micros, settled_at=now)
    budgets.settle(row.budget_period_id, reserved_micros=row.authorized_micros, spent_micros=0)
    posting = Posting("release", row.authorized_micros, f"release:{output_id}", hold=row)
    return post(row.wallet_id, [posting], now=now)[0]


def _close(row: Hold, **fields: object) -> None:
    if not Hold.objects.filter(pk=row.pk, state="open").update(**fields):
        raise HoldNotOpen(f"The hold of output {row.output_id} is not open.")


def move(
    *, wallet: Wallet, posting: Posting, now: datetime, lot_kind: str = "paid", expires_at: datetime | None = None
) -> Entry:
    """Credit or debit a wallet outside any hold, with its lot. A repeated idempotency key is the same movement."""
    require_transaction()
    known = Entry.objects.filter(idempotency_key=posting.idempotency_key).first()
    if known is not None:
        return known
    entry = post(wallet.pk, [posting], now=now)[0]
    if posting.kind in LOT_MAKERS:
        lots.make(entry, kind=lot_kind, expires_at=expires_at)
    if posting.kind in LOT_USERS:
        lots.use(entry)
    return entry
