"""The movements that payments make: the only room here that touches the ledger. Inside the caller's transaction."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import QuerySet, Sum

from accounts.ledger.models import Entry, Lot, LotUse, Wallet
from accounts.ledger.operations import Posting, locked_wallet, move
from accounts.payments.models import Dispute, Payment, PaymentEntry, Refund
from accounts.payments.models.payments import lots_of


@dataclass(frozen=True, slots=True)
class _Origin:
    """What an entry stems from."""

    payment: Payment
    refund: Refund | None = None
    dispute: Dispute | None = None


def _move(
    origin: _Origin,
    posting: Posting,
    *,
    now: datetime,
    lot_kind: str = "paid",
    expires_at: datetime | None = None,
    lot_first: str = "",
) -> Entry:
    """One movement with its origin. The payment's own lots of kind `lot_first` are used up before others."""
    wallet = origin.payment.wallet
    first = lots_of(origin.payment.pk, lot_first) if lot_first else []
    entry = move(wallet=wallet, posting=posting, now=now, lot_kind=lot_kind, expires_at=expires_at, lots_first=first)
    PaymentEntry.objects.get_or_create(
        entry=entry, defaults={"payment": origin.payment, "refund": origin.refund, "dispute": origin.dispute}
    )
    return entry


def _repay(wallet: Wallet, brought: Entry, *, now: datetime) -> None:
    """Money that came in pays what the wallet owes first."""
    amount_micros = min(brought.debt_after_micros, brought.amount_micros, brought.available_after_micros)
    if amount_micros:
        posting = Posting("repay", amount_micros, f"repay:{brought.idempotency_key}", reason="Owed from before")
        move(wallet=wallet, posting=posting, now=now, lots_first=[brought.lot])


def credit(payment: Payment, *, now: datetime) -> None:
    """What was bought, once for its payment intent, and its bonus."""
    origin, intent = _Origin(payment), payment.stripe_payment_intent_id
    words = f"Paid by {payment.method}" if payment.method else "Paid"
    brought = _move(origin, Posting("top_up", payment.credit_micros, f"top_up:{intent}", reason=words), now=now)
    _repay(payment.wallet, brought, now=now)
    if payment.bonus_micros:
        expires_at = now + timedelta(days=payment.bonus_days) if payment.bonus_days else None
        bonus = Posting("grant", payment.bonus_micros, f"bonus:{intent}", reason="Bonus on a top-up")
        _move(origin, bonus, now=now, lot_kind=Lot.Kind.PROMOTIONAL, expires_at=expires_at)


def take_for_refund(refund: Refund, *, now: datetime) -> None:
    """What a refund takes: from the payment's own lot first; what is not there any more becomes debt."""
    payment, origin = refund.payment, _Origin(refund.payment, refund=refund)
    available = locked_wallet(payment.wallet_id).available_micros
    part = min(available, refund.credit_micros)
    if part:
        posting = Posting("refund", part, f"refund:{refund.pk}", actor=refund.actor, reason=refund.reason)
        _move(origin, posting, now=now, lot_first=Lot.Kind.PAID)
    if refund.credit_micros > part:
        owed = Posting("refund_debt", refund.credit_micros - part, f"refund_debt:{refund.pk}", reason=refund.reason)
        _move(origin, owed, now=now)
    if refund.revoked_micros:
        revoked = Posting("revoke", refund.revoked_micros, f"revoke:{refund.pk}", reason="Bonus of a refunded top-up")
        _move(origin, revoked, now=now, lot_first=Lot.Kind.PROMOTIONAL)


def bring_back(refund: Refund, *, now: datetime) -> None:
    """A refund failed: what it took is there again, of the kind it was."""
    origin = _Origin(refund.payment, refund=refund)
    _give_back(origin, "refund_failed", refund.credit_micros, f"refund_failed:{refund.pk}", refund.error, now=now)
    if refund.revoked_micros:
        bonus = lots_of(refund.payment_id, Lot.Kind.PROMOTIONAL)
        again = Posting("grant", refund.revoked_micros, f"grant_again:{refund.pk}", reason="The refund failed")
        expires_at = bonus[0].expires_at if bonus else None
        _move(origin, again, now=now, lot_kind=Lot.Kind.PROMOTIONAL, expires_at=expires_at)


def withdraw(dispute: Dispute, amount_micros: int, *, now: datetime) -> None:
    """A dispute takes money: what is available, and the rest as debt."""
    origin, key = _Origin(dispute.payment, dispute=dispute), f"{dispute.stripe_dispute_id}:{dispute.movements}"
    part = min(locked_wallet(dispute.payment.wallet_id).available_micros, amount_micros)
    if part:
        posting = Posting("dispute", part, f"dispute:{key}", reason="Disputed at the bank")
        _move(origin, posting, now=now, lot_first=Lot.Kind.PAID)
    if amount_micros > part:
        owed = Posting("dispute_debt", amount_micros - part, f"dispute_debt:{key}", reason="Disputed at the bank")
        _move(origin, owed, now=now)


def reinstate(dispute: Dispute, amount_micros: int, *, now: datetime) -> None:
    """A dispute gives money back, of the kind it was."""
    origin, key = _Origin(dispute.payment, dispute=dispute), f"{dispute.stripe_dispute_id}:{dispute.movements}"
    _give_back(origin, "reinstate", amount_micros, f"reinstate:{key}", "The dispute was decided for us", now=now)


def _give_back(origin: _Origin, kind: str, amount_micros: int, key: str, reason: str, *, now: datetime) -> None:
    """Money comes back to where it was taken from: what was promotional is promotional again, and no cash."""
    own = PaymentEntry.objects.filter(payment=origin.payment, refund=origin.refund, dispute=origin.dispute)
    used = LotUse.objects.filter(
        entry__payment_entry__in=own, lot__kind=Lot.Kind.PROMOTIONAL, entry__kind__in=("refund", "dispute")
    )
    returned = Lot.objects.filter(entry__payment_entry__in=own, kind=Lot.Kind.PROMOTIONAL, entry__kind=kind)
    given = min(amount_micros, _sum(used, "amount_micros") - _sum(returned, "granted_micros"))
    if amount_micros > given:
        posting = Posting(kind, amount_micros - given, key, reason=reason)
        _repay(origin.payment.wallet, _move(origin, posting, now=now), now=now)
    if given:
        expiries = [row.lot.expires_at for row in used.select_related("lot") if row.lot.expires_at]
        posting = Posting(kind, given, f"{key}:given", reason=reason)
        expires_at = min(expiries, default=None)
        _move(origin, posting, now=now, lot_kind=Lot.Kind.PROMOTIONAL, expires_at=expires_at)


def _sum(rows: QuerySet[Any], name: str) -> int:
    return rows.aggregate(total=Sum(name))["total"] or 0


def set_wallet_status(wallet_id: int, before: str, after: str) -> bool:
    """Freeze a wallet, or let it spend again. Whether that changed anything."""
    return bool(Wallet.objects.filter(pk=wallet_id, status=before).update(status=after))
