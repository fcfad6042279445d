"""Reads of money for doors and pages: wallet, budget, statement and usage, each bound to one account and mode."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.db.models import Count, F, Q, QuerySet, Sum
from django.db.models.functions import TruncDate

from accounts.authentication import Requester
from accounts.identifiers import parse_public_id, public_id
from accounts.ledger import queries as ledger_queries
from accounts.ledger.models import Entry
from accounts.ledger.postings import KINDS
from generation.contract import Refusal
from generation.models import Charge
from generation.queries.pages import Page


def wallet(requester: Requester) -> dict[str, Any]:
    """The requester's wallet in its mode."""
    row = ledger_queries.wallet_of(requester.account.pk, requester.mode)
    return {
        "mode": row.mode,
        "currency": row.currency,
        "available_micros": row.available_micros,
        "held_micros": row.held_micros,
        "debt_micros": row.debt_micros,
        "status": row.status,
    }


def budget(requester: Requester, *, now: datetime) -> dict[str, Any] | None:
    """The budget of the requester's key in the period that runs, or None if it has none."""
    api_key = requester.api_key
    if api_key is None or api_key.budget_micros is None:
        return None
    row = ledger_queries.budget_of(api_key, now=now)
    return {
        "limit_micros": row.limit_micros if row else api_key.budget_micros,
        "reserved_micros": row.reserved_micros if row else 0,
        "spent_micros": row.spent_micros if row else 0,
        "period": api_key.budget_period,
        "starts_at": row.starts_at if row else None,
    }


def statement(
    requester: Requester,
    *,
    limit: int,
    cursor: str = "",
    kinds: Sequence[str] = (),
    since: date | None = None,
    until: date | None = None,
) -> Page:
    """A page of the wallet's entries, newest first; the cursor is the last entry's id. Days are those of UTC."""
    owner = requester.account.pk, requester.mode
    rows: QuerySet[Entry] = ledger_queries.statement(*owner).select_related("payment_entry__payment")
    if kinds:
        rows = rows.filter(kind__in=kinds)
    if since:
        rows = rows.filter(sequence__gte=ledger_queries.first_sequence_since(*owner, _midnight(since)))
    if until and until < date.max:
        end = ledger_queries.first_sequence_since(*owner, _midnight(until) + timedelta(days=1))
        rows = rows.filter(sequence__lt=end)
    if cursor:
        rows = rows.filter(pk__lt=_entry_number(cursor))
    found = list(rows[: limit + 1])
    page = [_entry(row) for row in found[:limit]]
    return Page(page, page[-1]["id"] if len(found) > limit else "")


ENTRY_KINDS = tuple(KINDS)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _entry_number(cursor: str) -> int:
    number = cursor.removeprefix("ent_")
    if not (number.isascii() and number.isdigit() and len(number) < 19):
        raise Refusal("invalid", "invalid_request", "The cursor is not one of ours.", param="cursor")
    return int(number)


def _entry(row: Entry) -> dict[str, Any]:
    origin = getattr(row, "payment_entry", None)
    payment = origin.payment if origin else None
    return {
        "id": row.public_id,
        "kind": row.kind,
        "amount_micros": row.amount_micros,
        "available_after_micros": row.available_after_micros,
        "held_after_micros": row.held_after_micros,
        "debt_after_micros": row.debt_after_micros,
        "output": public_id("out", row.hold.output_id) if row.hold else None,
        "payment": payment.public_id if payment else None,
        "receipt_url": payment.receipt_url if payment else "",
        "reason": row.reason,
        "created_at": row.created_at,
    }


def charges_of(requester: Requester, generation_id: str) -> dict[str, dict[str, Any]]:
    """What each delivered output of a generation cost its owner, by the output's public id."""
    row_id = parse_public_id("gen", generation_id)
    rows = Charge.objects.filter(
        output__generation_id__in=filter(None, [row_id]), account=requester.account, mode=requester.mode
    )
    return {row.output.public_id: _charge(row) for row in rows.select_related("output", "entry")}


def _charge(row: Charge) -> dict[str, Any]:
    return {
        "quote_micros": row.quote_micros,
        "price_micros": row.price_micros,
        "image_size": row.image_size,
        "reference_count": row.reference_count,
        "image_model": row.image_model_id,
        "entry": row.entry.public_id if row.entry else None,
        "created_at": row.created_at,
    }


_GROUPS = {"model": "image_model_id", "key": "api_key_id"}


def usage(requester: Requester, *, since: date, until: date, group_by: str) -> list[dict[str, Any]]:
    """Delivered images and what they cost the customer: by day (UTC), model or API key.

    With how many of those that asked for the cache were answered by it, and what that saved.
    """
    rows = Charge.objects.filter(
        account=requester.account,
        mode=requester.mode,
        created_at__gte=_midnight(since),
        created_at__lt=_midnight(until) + timedelta(days=1),
    )
    group = TruncDate("created_at") if group_by == "day" else F(_GROUPS[group_by])
    grouped = rows.annotate(group=group).values("group")
    asked = grouped.exclude(cache="").annotate(**CACHE_SUMS).values_list("group", *CACHE_SUMS)
    cached = {group: dict(zip(CACHE_SUMS, sums, strict=True)) for group, *sums in asked}
    counted = grouped.annotate(image_count=Count("*"), total=Sum("price_micros"))
    return [
        {
            "group": _label(group_by, row["group"]),
            "image_count": row["image_count"],
            "price_micros": row["total"],
            **cached.get(row["group"], dict.fromkeys(CACHE_SUMS, 0)),
        }
        for row in counted.order_by("group")
    ]


# Of charges that asked for the cache.
CACHE_SUMS = {
    "hit_count": Count("pk", filter=Q(cache=Charge.Cache.HIT)),
    "miss_count": Count("pk", filter=Q(cache=Charge.Cache.MISS)),
    "saved_micros": Sum("saved_price_micros"),
}


def _label(group_by: str, value: Any) -> str:
    if group_by == "key":
        return public_id("key", value) if value else "site"
    return str(value)
