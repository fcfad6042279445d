"""Lots: what came in together is used up first-expiring first, in the transaction that spends it."""

from __future__ import annotations

from datetime import datetime

from django.db.models import F

from accounts.ledger.models import Entry, Lot, LotUse


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


def use(entry: Entry) -> None:
    """Use up lots for exactly the amount of an entry that takes money out. The wallet row is already locked."""
    left = entry.amount_micros
    uses = []
    usable = Lot.objects.filter(wallet_id=entry.wallet_id, remaining_micros__gt=0)
    for lot in usable.order_by("priority", F("expires_at").asc(nulls_last=True), "id").iterator(chunk_size=20):
        part = min(left, lot.remaining_micros)
        Lot.objects.filter(pk=lot.pk).update(remaining_micros=F("remaining_micros") - part)
        uses.append(LotUse(entry=entry, lot=lot, amount_micros=part))
        left -= part
        if not left:
            break
    assert not left, f"wallet {entry.wallet_id} has less in lots than it spends"
    LotUse.objects.bulk_create(uses)
