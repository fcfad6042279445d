"""Credit that expires: what is left of a lot after its last moment leaves the wallet; what is on hold stays usable."""

from __future__ import annotations

from datetime import datetime

from accounts.ledger import lots
from accounts.ledger.models import Lot, Wallet
from accounts.ledger.operations import Posting, locked_wallet, move
from accounts.transactions import write_transaction


def expire_due(*, now: datetime, limit: int = 200) -> int:
    """Expire lots whose time is over, each in a transaction of its own. Answers how many gave something up.

    A lot whose money is on hold gives up what is available, and the rest when it is released.
    """
    due = Lot.objects.filter(expires_at__lte=now, remaining_micros__gt=0, wallet__available_micros__gt=0)
    return sum(_expire(row.pk, now=now) for row in due.order_by("expires_at", "pk")[:limit])


def _with_what_is_held(wallet: Wallet, lot_id: int) -> tuple[Lot, int]:
    """A lot, and what of it the open holds will use: they take lots in the order in which captures do."""
    held_micros = wallet.held_micros
    for lot in lots.in_order(wallet.pk):
        part = min(held_micros, lot.remaining_micros)
        if lot.pk == lot_id:
            return lot, part
        held_micros -= part
    return Lot(pk=lot_id, remaining_micros=0), 0


def _expire(lot_id: int, *, now: datetime) -> bool:
    with write_transaction():
        wallet = locked_wallet(Lot.objects.values_list("wallet_id", flat=True).get(pk=lot_id))
        lot, held_micros = _with_what_is_held(wallet, lot_id)
        amount_micros = min(lot.remaining_micros - held_micros, wallet.available_micros)
        if amount_micros <= 0:
            return False
        posting = Posting("expire", amount_micros, f"expire:{lot.pk}:{lot.remaining_micros}", reason="Credit expired")
        move(wallet=wallet, posting=posting, now=now, lots_first=[lot])
        return True
