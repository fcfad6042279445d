"""Refunds: what of a payment can go back, asking for it, and following Stripe wherever a refund was made."""

from __future__ import annotations

import logging
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Sum

from accounts import crash_points
from accounts.ledger.models import Lot, LotUse, Wallet
from accounts.ledger.operations import locked_wallet
from accounts.models import Account
from accounts.payments import connection, disputes, money
from accounts.payments.facts import RefundFacts, StripeRefused, StripeUnavailable
from accounts.payments.models import Payment, Refund
from accounts.payments.models.payments import MICROS_PER_CENT, lots_of
from accounts.payments.stripe_gateway import StripeGateway
from accounts.transactions import write_transaction

logger = logging.getLogger(__name__)
State = Refund.State
_FIRST_CHECK = timedelta(seconds=30)
_COUNTING = (State.REQUESTED, State.PENDING, State.SUCCEEDED)


class RefundNotPossible(Exception):
    """Why nothing is sent back, in a sentence."""


@dataclass(frozen=True, slots=True)
class Refundable:
    """What of a payment is unspent: cents without tax, and the bonus that would go with all of it."""

    cents: int
    bonus_micros: int


def refundable(payment: Payment) -> Refundable:
    """What can be sent back now. A bonus that was spent is paid with what was bought, and a debt comes first."""
    if payment.disputes.filter(status__in=(*disputes.OPEN, "lost")).exists():
        return Refundable(0, 0)
    paid_left, bonus_left = _left(payment, Lot.Kind.PAID), _left(payment, Lot.Kind.PROMOTIONAL)
    bonus_used = payment.bonus_micros - bonus_left - _counted(payment)["revoked"] - _expired(payment)
    wallet = payment.wallet
    micros = min(paid_left - bonus_used, wallet.available_micros - bonus_left) - wallet.debt_micros
    return Refundable(max(0, micros) // MICROS_PER_CENT, bonus_left)


def _expired(payment: Payment) -> int:
    """What of a bonus expired: nobody had anything of it."""
    lots = lots_of(payment.pk, Lot.Kind.PROMOTIONAL)
    uses = LotUse.objects.filter(lot__in=lots, entry__kind="expire")
    return uses.aggregate(total=Sum("amount_micros"))["total"] or 0


def _left(payment: Payment, kind: str) -> int:
    return sum(lot.remaining_micros for lot in lots_of(payment.pk, kind))


def _counted(payment: Payment) -> dict[str, int]:
    """What refunds that did not fail took so far."""
    sums = payment.refunds.filter(state__in=_COUNTING).aggregate(
        cents=Sum("amount_cents"), micros=Sum("credit_micros"), revoked=Sum("revoked_micros")
    )
    return {name: value or 0 for name, value in sums.items()}


def request(
    payment_id: uuid.UUID,
    *,
    cents: int | None = None,
    actor: str,
    reason: str,
    now: datetime,
    once: uuid.UUID | None = None,
) -> Refund:
    """Take unspent credit out of the wallet and have Stripe send it back; `cents` without tax, None = all there is.

    The same `once` is the same refund. Raises RefundNotPossible, and nothing moves.
    """
    with write_transaction():
        payment = Payment.objects.select_for_update(no_key=True).get(pk=payment_id)
        known = Refund.objects.filter(pk=once).first() if once else None
        refund = known or _taken(payment, cents, actor=actor, reason=reason, now=now, once=once)
    crash_points.reached("refund.written")
    return refund if known else send(refund, now=now)


def _taken(
    payment: Payment, cents: int | None, *, actor: str, reason: str, now: datetime, once: uuid.UUID | None
) -> Refund:
    payment.wallet = locked_wallet(payment.wallet_id)
    if payment.state != Payment.State.SUCCEEDED:
        raise RefundNotPossible("This payment was not credited.")
    possible = refundable(payment)
    net_cents = possible.cents if cents is None else cents
    if not 0 < net_cents <= possible.cents:
        raise RefundNotPossible(f"At most ${possible.cents / 100:,.2f} of this payment is unspent and can go back.")
    counted = _counted(payment)
    is_rest = counted["micros"] + net_cents * MICROS_PER_CENT == payment.credit_micros
    gross_cents = net_cents * payment.total_cents // payment.amount_cents
    share = -(-payment.bonus_micros * net_cents // payment.amount_cents)
    refund = Refund.objects.create(
        **({"id": once} if once else {}),
        payment=payment,
        amount_cents=payment.total_cents - counted["cents"] if is_rest else gross_cents,
        credit_micros=net_cents * MICROS_PER_CENT,
        revoked_micros=min(share, possible.bonus_micros),
        is_ours=True,
        actor=actor,
        reason=reason,
        created_at=now,
        next_check_at=now + _FIRST_CHECK,
    )
    money.take_for_refund(refund, now=now)
    return refund


def return_if_closed(payment: Payment, *, now: datetime) -> None:
    """Have a payment that was just credited to a closed account sent back; in the transaction that credited it."""
    wallet = Wallet.objects.select_related("account").get(pk=payment.wallet_id)
    is_closed = wallet.account.status == Account.Status.CLOSED or wallet.status == Wallet.Status.CLOSED
    if is_closed and payment.state == Payment.State.SUCCEEDED:
        try:
            _taken(payment, None, actor="system", reason="The account is closed", now=now, once=None)
        except RefundNotPossible as error:
            logger.warning("payment %s of a closed account stays: %s", payment.public_id, error)


def send(refund: Refund, *, now: datetime) -> Refund:
    """Ask Stripe for a refund that is written down. No answer is no reason to ask for another."""
    payment = refund.payment
    stripe = connection.current()
    if stripe is None or stripe.gateway.livemode != payment.livemode:
        return refund
    try:
        facts = _asked_before(stripe.gateway, refund) or stripe.gateway.make_refund(
            intent_id=payment.stripe_payment_intent_id or "",
            amount_cents=refund.amount_cents,
            refund_id=refund.public_id,
            key=f"refund:{refund.pk}",
        )
    except StripeUnavailable as error:
        logger.warning("refund %s waits: %s", refund.public_id, error)
        return refund
    except StripeRefused as error:
        logger.error("Stripe refused refund %s: %s", refund.public_id, error)
        return _follow(refund.pk, "failed", {"error": str(error)[:500]}, now=now)
    crash_points.reached("refund.sent")
    return follow(refund.pk, facts, now=now)


def _asked_before(gateway: StripeGateway, refund: Refund) -> RefundFacts | None:
    """What an earlier request made: Stripe forgets idempotency keys after a day, and a list forgets nothing."""
    if not refund.checks:
        return None
    found = gateway.refunds_of(refund.payment.stripe_payment_intent_id or "")
    return next((each for each in found if each.refund_id == refund.public_id), None)


_STATES = {
    "succeeded": State.SUCCEEDED,
    "failed": State.FAILED,
    "canceled": State.FAILED,
    "pending": State.PENDING,
    "requires_action": State.PENDING,
}


def follow(refund_pk: uuid.UUID, facts: RefundFacts, *, now: datetime) -> Refund:
    """Bring a refund to where Stripe says it is."""
    return _follow(refund_pk, facts.status, {"stripe_refund_id": facts.id, "error": facts.error[:500]}, now=now)


def _follow(refund_pk: uuid.UUID, status: str, fields: dict[str, Any], *, now: datetime) -> Refund:
    with write_transaction():
        rows = Refund.objects.select_for_update(no_key=True, of=("self",))
        refund = rows.select_related("payment__wallet").get(pk=refund_pk)
        state = _STATES.get(status, State.PENDING)
        if refund.state == State.FAILED or (refund.state, refund.stripe_refund_id) == (
            state,
            fields.get("stripe_refund_id", ""),
        ):
            return refund
        for name, value in fields.items():
            setattr(refund, name, value)
        if refund.state == State.SUCCEEDED and state == State.PENDING:
            # An older answer.
            return refund
        refund.state = state
        if state == State.FAILED:
            money.bring_back(refund, now=now)
        if state != State.PENDING:
            refund.next_check_at, refund.settled_at = None, now
        refund.save()
    return refund


def converge(payment: Payment, *, now: datetime) -> None:
    """Follow every refund Stripe knows of a payment, also those made in its dashboard."""
    stripe = connection.current()
    if stripe is None or payment.state != Payment.State.SUCCEEDED or not payment.stripe_payment_intent_id:
        return
    for facts in stripe.gateway.refunds_of(payment.stripe_payment_intent_id):
        known = _known(payment, facts)
        if known is not None:
            follow(known.pk, facts, now=now)
        elif facts.status not in ("failed", "canceled"):
            _take_up(payment, facts, now=now)


def _known(payment: Payment, facts: RefundFacts) -> Refund | None:
    rows = payment.refunds.all()
    return next((row for row in rows if facts.id == row.stripe_refund_id or facts.refund_id == row.public_id), None)


def _take_up(payment: Payment, facts: RefundFacts, *, now: datetime) -> None:
    """A refund that was made elsewhere has happened: the wallet follows, into debt if it must."""
    with write_transaction():
        locked = Payment.objects.select_for_update(no_key=True).get(pk=payment.pk)
        if Refund.objects.filter(stripe_refund_id=facts.id).exists():
            return
        counted = _counted(locked)
        total = counted["cents"] + facts.amount_cents
        credit_micros = locked.credit_micros * total // locked.total_cents - counted["micros"]
        wallet, left = locked_wallet(locked.wallet_id), _left(locked, Lot.Kind.PROMOTIONAL)
        share = -(-locked.bonus_micros * facts.amount_cents // locked.total_cents)
        refund = Refund.objects.create(
            payment=locked,
            stripe_refund_id=facts.id,
            amount_cents=facts.amount_cents,
            credit_micros=max(0, credit_micros),
            revoked_micros=min(share, left, max(0, wallet.available_micros - max(0, credit_micros))),
            is_ours=False,
            actor="Stripe",
            reason="Refunded at Stripe",
            created_at=now,
            next_check_at=now + _FIRST_CHECK,
        )
        money.take_for_refund(refund, now=now)
    follow(refund.pk, facts, now=now)


def check(refund: Refund, *, now: datetime) -> None:
    """One look of the poller at a refund that is not over."""
    stripe = connection.current()
    if refund.stripe_refund_id is None:
        send(refund, now=now)
    elif stripe is not None and stripe.gateway.livemode == refund.payment.livemode:
        follow(refund.pk, stripe.gateway.refund(refund.stripe_refund_id), now=now)
