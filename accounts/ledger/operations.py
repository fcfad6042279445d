"""The verbs that move money: hold, capture, release, and crediting or debiting a wallet with a reason.

Each runs inside the caller's transaction, so that money moves together with the state that explains it. Many outputs
move together: a wallet is locked, read and written once for all of them, and the triggers compare it with its entries.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from accounts.compiled import CompiledSelect
from accounts.ledger import budgets, limits, lots
from accounts.ledger.models import Entry, Hold, Lot, Wallet
from accounts.ledger.postings import KINDS, LOT_MAKERS, LOT_USERS, delta
from accounts.models import Account, ApiKey
from accounts.row_writes import insert_each, update_each
from accounts.transactions import require_transaction

# Rows as they are now, theirs to wait for who come after us. Always in order of id: nobody deadlocks.
_locked = CompiledSelect(lambda ids: Wallet.objects.select_for_update(no_key=True).filter(pk__in=ids).order_by("pk"))
_locked_of = CompiledSelect(
    lambda accounts, modes: (
        Wallet.objects.select_for_update(no_key=True).filter(account_id__in=accounts, mode__in=modes).order_by("pk")
    )
)
_locked_holds = CompiledSelect(
    lambda outputs: Hold.objects.select_for_update(no_key=True).filter(output_id__in=outputs).order_by("pk")
)


class InsufficientFunds(Exception):
    """The wallet does not have that much available."""


class WalletNotActive(InsufficientFunds):
    """The wallet is frozen or closed: it may have money, and takes no new holds."""


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


def post(wallet_id: int, postings: Sequence[Posting], *, now: datetime) -> list[Entry]:
    """Move money of one wallet, in order. Raises InsufficientFunds, and writes nothing, if it cannot cover it."""
    require_transaction()
    return _post(_locked([wallet_id]), {wallet_id: postings}, now=now)


def _post(wallets: Sequence[Wallet], postings: Mapping[int, Sequence[Posting]], *, now: datetime) -> list[Entry]:
    """Write movements of wallets that are locked: each wallet once, then all entries, in the order of `wallets`."""
    entries = [entry for wallet in wallets for entry in _moved(wallet, postings.get(wallet.pk, ()), now)]
    balances = ("available_micros", "held_micros", "debt_micros", "head_sequence")
    update_each(
        Wallet,
        [(each.pk, {name: getattr(each, name) for name in balances}) for each in wallets if each.pk in postings],
    )
    return insert_each(entries)


def _moved(wallet: Wallet, postings: Sequence[Posting], now: datetime) -> Iterator[Entry]:
    """Move a locked wallet's balances and yield the entries that say so."""
    for posting in postings:
        change = delta(posting.kind)
        wallet.available_micros += change.available * posting.amount_micros
        wallet.held_micros += change.held * posting.amount_micros
        wallet.debt_micros += change.debt * posting.amount_micros
        wallet.head_sequence += 1
        if wallet.available_micros < 0:
            raise InsufficientFunds
        yield _entry(wallet, posting, now)


def _entry(wallet: Wallet, posting: Posting, now: datetime) -> Entry:
    sides = KINDS[posting.kind]
    return Entry(
        wallet_id=wallet.pk,
        sequence=wallet.head_sequence,
        kind=posting.kind,
        source=sides.source,
        destination=sides.destination,
        amount_micros=posting.amount_micros,
        available_after_micros=wallet.available_micros,
        held_after_micros=wallet.held_micros,
        debt_after_micros=wallet.debt_micros,
        hold=posting.hold,
        idempotency_key=posting.idempotency_key,
        actor=posting.actor,
        reason=posting.reason,
        created_at=now,
    )


def hold(
    *, account_id: uuid.UUID, mode: str, amounts: dict[uuid.UUID, int], api_key: ApiKey | None, now: datetime
) -> None:
    """Set money aside for outputs, all or none. `amounts`: output id -> micro-dollars above zero.

    Raises InsufficientFunds, budgets.BudgetExceeded, or limits.SpendingLimitExceeded.
    """
    batch = HoldBatch([(account_id, mode)])
    batch.add(account_id=account_id, mode=mode, amounts=amounts, api_key=api_key, now=now)
    batch.write(now=now)


class HoldBatch:
    """Holds of several requests in one transaction: wallets are locked first, each request is covered or refused in
    turn, and what was covered is written at the end. Every wallet is read and written once."""

    def __init__(self, wallets: Iterable[tuple[uuid.UUID, str]]) -> None:
        require_transaction()
        accounts, modes = {each[0] for each in wallets}, {each[1] for each in wallets}
        self._wallets = {(row.account_id, row.mode): row for row in _locked_of(list(accounts), list(modes))}
        self._spendable = {row.pk: row.available_micros for row in self._wallets.values()}
        self._holds: list[Hold] = []

    def add(
        self,
        *,
        account_id: uuid.UUID,
        mode: str,
        amounts: Mapping[uuid.UUID, int],
        api_key: ApiKey | None,
        now: datetime,
    ) -> None:
        """Set money aside for the outputs of one request, all or none; `amounts`: output id -> micro-dollars above 0.

        Raises InsufficientFunds, budgets.BudgetExceeded or limits.SpendingLimitExceeded; the others can go on.
        """
        wallet, total_micros = self._wallets[account_id, mode], sum(amounts.values())
        if total_micros and wallet.status != Wallet.Status.ACTIVE:
            raise WalletNotActive
        if self._spendable[wallet.pk] < total_micros:
            raise InsufficientFunds
        limits.check(wallet, total_micros, now=now)
        period = budgets.reserve(api_key, total_micros, now=now) if api_key and total_micros else None
        if total_micros:
            limits.reserve(wallet, total_micros, now=now)
        self._spendable[wallet.pk] -= total_micros
        for output_id, amount in amounts.items():
            self._holds.append(
                Hold(
                    wallet=wallet,
                    output_id=output_id,
                    authorized_micros=amount,
                    budget_period=period,
                    created_at=now,
                )
            )

    def write(self, *, now: datetime) -> None:
        """The holds and their entries."""
        postings: dict[int, list[Posting]] = defaultdict(list)
        for row in insert_each(self._holds):
            posting = Posting("hold", row.authorized_micros, f"hold:{row.output_id}", hold=row)
            postings[row.wallet_id].append(posting)
        touched = [wallet for wallet in self._wallets.values() if wallet.pk in postings]
        _post(touched, postings, now=now)


def capture(*, output_id: uuid.UUID, amount_micros: int, now: datetime) -> Entry:
    """Take the price out of an output's hold and give the rest back. Raises HoldNotOpen if it was settled before."""
    return settle({output_id: amount_micros}, now=now)[output_id]


def release(*, output_id: uuid.UUID, now: datetime) -> Entry:
    """Give an output's whole hold back. Raises HoldNotOpen if it was settled before."""
    return settle({output_id: 0}, now=now)[output_id]


def settle(captured: Mapping[uuid.UUID, int], *, now: datetime) -> dict[uuid.UUID, Entry]:
    """End holds: output id -> micro-dollars to take, 0 for none; what is not taken is given back.

    Answers the capture entry of each, or the release entry where nothing was taken. Raises HoldNotOpen, and nothing
    is written, if one of them was settled before. Locks go holds, wallets, budgets, each in order of id.
    """
    require_transaction()
    rows = _locked_holds(list(captured))
    if len(rows) < len(captured) or any(row.state != "open" for row in rows):
        raise HoldNotOpen(f"A hold is missing or not open among those of {list(captured)[:5]}.")
    update_each(Hold, [(row.pk, _end_of(row, captured[row.output_id], now)) for row in rows])
    postings: dict[int, list[Posting]] = defaultdict(list)
    for row in rows:
        postings[row.wallet_id].extend(_postings_of(row, captured[row.output_id]))
    wallets = _locked(list(postings))
    entries = _post(wallets, postings, now=now)
    limits.settle(wallets, rows, captured)
    budgets.settle({row.budget_period_id: _spent(rows, captured, row.budget_period_id) for row in rows})
    lots.use([entry for entry in entries if entry.kind == "capture"])
    outputs = {row.pk: row.output_id for row in rows}
    # A capture is written before the release of its rest, so the last word for an output is the first entry.
    return {outputs[entry.hold_id]: entry for entry in reversed(entries) if entry.hold_id is not None}


def _end_of(row: Hold, captured_micros: int, now: datetime) -> dict[str, object]:
    return {
        "state": "captured" if captured_micros else "released",
        "captured_micros": captured_micros,
        "released_micros": row.authorized_micros - captured_micros,
        "settled_at": now,
    }


def _postings_of(row: Hold, captured_micros: int) -> Iterator[Posting]:
    if captured_micros:
        yield Posting("capture", captured_micros, f"capture:{row.output_id}", hold=row)
    if row.authorized_micros > captured_micros:
        rest = row.authorized_micros - captured_micros
        yield Posting("release", rest, f"release:{row.output_id}", hold=row)


def _spent(rows: Sequence[Hold], captured: Mapping[uuid.UUID, int], period_id: int | None) -> tuple[int, int]:
    """What a budget period had reserved for these holds, and what of it is spent."""
    own = [row for row in rows if row.budget_period_id == period_id]
    return sum(row.authorized_micros for row in own), sum(captured[row.output_id] for row in own)


def locked_wallet(wallet_id: int) -> Wallet:
    """A wallet as it is now, locked until the transaction ends."""
    require_transaction()
    return _locked([wallet_id])[0]


def move(
    *,
    wallet: Wallet,
    posting: Posting,
    now: datetime,
    lot_kind: str = "paid",
    expires_at: datetime | None = None,
    lots_first: Sequence[Lot] = (),
) -> Entry:
    """Credit or debit a wallet outside any hold, with its lot. A repeated idempotency key is the same movement.

    Money that leaves is taken out of `lots_first` before other lots.
    """
    require_transaction()
    known = Entry.objects.filter(idempotency_key=posting.idempotency_key).first()
    if known is not None:
        return known
    entry = post(wallet.pk, [posting], now=now)[0]
    if posting.kind in LOT_MAKERS:
        lots.make(entry, kind=lot_kind, expires_at=expires_at)
    if posting.kind in LOT_USERS:
        lots.use([entry], first=lots_first)
    return entry
