"""Disputes: the wallet freezes and follows what Stripe takes and gives back, into debt if it must."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime

from accounts.ledger.models import Wallet
from accounts.models import Account
from accounts.notices import outbox
from accounts.payments import connection, money
from accounts.payments.facts import DisputeFacts, StripeUnavailable
from accounts.payments.models import Dispute, Payment
from accounts.payments.models.payments import Overtaken, locked_payment
from accounts.transactions import write_transaction

logger = logging.getLogger(__name__)
#: Waiting for the bank: what is disputed is not refunded, too.
OPEN = ("needs_response", "under_review")
_LOOKS = 5


def converge(payment: Payment, *, now: datetime) -> None:
    """Follow every dispute of a payment. Raises StripeUnavailable."""
    stripe = connection.current()
    if stripe is None or payment.state != Payment.State.SUCCEEDED or not payment.stripe_payment_intent_id:
        return None
    for _ in range(_LOOKS):
        known = Payment.objects.get(pk=payment.pk)
        facts = stripe.gateway.disputes_of(payment.stripe_payment_intent_id)
        try:
            return _follow_all(known, facts, now=now)
        except Overtaken:
            continue
    raise StripeUnavailable("Others follow this payment at the moment.")


def _follow_all(payment: Payment, found: Sequence[DisputeFacts], *, now: datetime) -> None:
    """Write down what was found, unless somebody else did since."""
    with write_transaction():
        locked = locked_payment(payment)
        locked.wallet = Wallet.objects.get(pk=locked.wallet_id)
        new = [facts for facts in found if _follow(locked, facts, now=now)]
        locked.save(update_fields=["follows"])
    for facts in new:
        logger.error("payment %s is disputed: %s", payment.public_id, facts.reason)


def _follow(payment: Payment, facts: DisputeFacts, *, now: datetime) -> bool:
    """Bring a dispute to where Stripe says it is. Whether it is new."""
    row, is_new = Dispute.objects.get_or_create(
        stripe_dispute_id=facts.id,
        defaults={
            "payment": payment,
            "status": facts.status,
            "reason": facts.reason,
            "amount_cents": facts.amount_cents,
            "created_at": facts.created,
            "updated_at": now,
        },
    )
    row.payment, before = payment, "" if is_new else row.status
    _move(row, _credit_share(payment, facts), now=now)
    row.status, row.updated_at = facts.status, now
    _freeze_or_thaw(row, before)
    row.save()
    if row.status in OPEN and before not in OPEN:
        _tell(row, now=now)
    return is_new


def _tell(row: Dispute, *, now: datetime) -> None:
    account = Account.objects.get(wallets=row.payment.wallet_id)
    outbox.tell(
        account,
        key=f"dispute:{row.stripe_dispute_id}",
        subject="A payment of yours was disputed",
        body=f"Your bank was asked to take back a payment of ${row.amount_cents / 100:,.2f}. Until that is decided "
        "your wallet is frozen: what was begun is finished, and nothing new is made. If you did not mean this, tell "
        "your bank, and write to the operator of this service.\n",
        now=now,
    )


def _credit_share(payment: Payment, facts: DisputeFacts) -> int:
    """What of the credit Stripe has taken back now: without the tax, never more than what was bought."""
    micros = payment.credit_micros * facts.withdrawn_cents // payment.total_cents
    return min(payment.credit_micros, micros)


def _move(row: Dispute, target_micros: int, *, now: datetime) -> None:
    """Move what is missing between what was moved before and what should be out now."""
    missing = target_micros - row.withdrawn_micros
    if missing > 0:
        money.withdraw(row, missing, now=now)
    if missing < 0:
        money.reinstate(row, -missing, now=now)
    if missing:
        row.movements += 1
        row.withdrawn_micros = target_micros


def _freeze_or_thaw(row: Dispute, before: str) -> None:
    """A wallet with a dispute that is open or lost starts nothing new, until the operator lets it: so only a change of
    a dispute freezes it. A bank's mere question (`warning_...`) does not. Won, it thaws what disputes froze."""
    wallet_id, bad = row.payment.wallet_id, (*OPEN, "lost")
    if row.status in bad and before not in bad:
        row.is_freezing = money.set_wallet_status(wallet_id, Wallet.Status.ACTIVE, Wallet.Status.FROZEN)
    if row.status == "won" and before != "won":
        of_wallet = Dispute.objects.filter(payment__wallet_id=wallet_id)
        has_others = of_wallet.filter(status__in=bad).exclude(pk=row.pk).exists()
        if not has_others and (row.is_freezing or of_wallet.filter(is_freezing=True).exists()):
            money.set_wallet_status(wallet_id, Wallet.Status.FROZEN, Wallet.Status.ACTIVE)
            of_wallet.update(is_freezing=False)
            row.is_freezing = False
