"""Lots: what came in together is used up first-expiring first, in the transaction that spends it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime

from django.db.models import F

from accounts.compiled import CompiledSelect
from accounts.ledger.models import Entry, Lot, LotUse
from accounts.row_writes import insert_each, update_each


def make(entry: Entry, *, kind: str, expires_at: datetime | None = None) -> Lot:
    """The lot of an entry that brought money in. Promotional money is used before paid money."""
    return Lot.objects.create(
        wallet_id=entry.wallet_id,
        entry=entry,
        kind=kind,
        granted_micros=entry.amount_micros,
        remaining_micros=entry.amount_micros,
        priority=100 if kind == Lot.Kind.PAID else 10,
        expires_at=expires_at,
        created_at=entry.created_at,
    )


_usable = CompiledSelect(
    lambda wallets: Lot.objects.filter(wallet_id__in=wallets, remaining_micros__gt=0).order_by(
        "priority", F("expires_at").asc(nulls_last=True), "id"
    )
)


def in_order(wallet_id: int) -> list[Lot]:
    """A wallet's lots that have something left, in the order in which they are used up."""
    return _usable([wallet_id])


def use(entries: Sequence[Entry], *, first: Sequence[Lot] = ()) -> None:
    """Use up lots for exactly the amounts of entries that take money out. Their wallets are already locked.

    Lots named in `first` are used up before the others.
    """
    usable = defaultdict(list)
    for row in _usable(list({entry.wallet_id for entry in entries})):
        usable[row.wallet_id].append(row)
    preferred = {lot.pk for lot in first}
    for rows in usable.values():
        rows.sort(key=lambda row: row.pk not in preferred)
    uses = [use for entry in entries for use in _used(entry, usable[entry.wallet_id])]
    touched = {use.lot.pk: use.lot for use in uses}
    update_each(Lot, [(pk, {"remaining_micros": lot.remaining_micros}) for pk, lot in sorted(touched.items())])
    insert_each(uses)


def _used(entry: Entry, usable: list[Lot]) -> Iterator[LotUse]:
    """Take an entry's amount from lots in their order; a lot that is empty leaves the list."""
    left = entry.amount_micros
    while left:
        assert usable, f"wallet {entry.wallet_id} has less in lots than it spends"
        lot = usable[0]
        part = min(left, lot.remaining_micros)
        lot.remaining_micros -= part
        left -= part
        yield LotUse(entry=entry, lot=lot, amount_micros=part)
        if not lot.remaining_micros:
            usable.pop(0)
