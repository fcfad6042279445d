"""Payments that Stripe knows and we do not: after a restore from a backup their rows are made again from our labels."""

from __future__ import annotations

import logging
from datetime import timedelta

from accounts.identifiers import parse_public_id
from accounts.ledger.models import Wallet
from accounts.payments import metadata
from accounts.payments.facts import IntentFacts
from accounts.payments.models import Customer, Payment
from accounts.payments.models.payments import MICROS_PER_CENT
from accounts.transactions import write_transaction

logger = logging.getLogger(__name__)


def payment_of(intent: IntentFacts) -> Payment | None:
    """The payment an intent belongs to, made again if it was lost. None for what is not ours, or not signed by us."""
    row = Payment.objects.filter(stripe_payment_intent_id=intent.id).first()
    return row or _found_by_label(intent) or _made_again(intent)


def _found_by_label(intent: IntentFacts) -> Payment | None:
    """A row whose answer from Stripe was lost learns of its intent here; all else must agree before it counts."""
    payment_id = parse_public_id("pay", intent.labels.payment_id)
    row = Payment.objects.filter(pk=payment_id).first() if payment_id else None
    if row is None or row.stripe_payment_intent_id is not None or row.stripe_session_id is not None:
        return row
    tax_cents = max(0, intent.amount_cents - row.amount_cents) if row.is_tax_automatic else 0
    Payment.objects.filter(pk=row.pk, stripe_payment_intent_id=None).update(
        stripe_payment_intent_id=intent.id, tax_cents=tax_cents
    )
    row.refresh_from_db()
    return row


def _made_again(intent: IntentFacts) -> Payment | None:
    claim, payment_id = metadata.claim(intent.labels), parse_public_id("pay", intent.labels.payment_id)
    account_id = parse_public_id("acc", claim.account_id) if claim else None
    if claim is None or payment_id is None or account_id is None:
        return None
    wallet = Wallet.objects.filter(account_id=account_id, mode="live" if intent.livemode else "test").first()
    if wallet is None:
        logger.error("payment intent %s is of account %s, which is not here", intent.id, claim.account_id)
        return None
    with write_transaction():
        if intent.customer_id:
            Customer.objects.get_or_create(
                account_id=wallet.account_id,
                livemode=intent.livemode,
                defaults={"stripe_customer_id": intent.customer_id, "created_at": intent.created},
            )
        row, is_new = Payment.objects.get_or_create(
            pk=payment_id,
            defaults={
                "wallet": wallet,
                "kind": Payment.Kind.AUTO if claim.kind == Payment.Kind.AUTO else Payment.Kind.CHECKOUT,
                # An auto-recharge that waits would be the only one that may; a lost one is looked at once.
                "state": Payment.State.EXPIRED,
                "livemode": intent.livemode,
                "amount_cents": claim.amount_cents,
                "tax_cents": max(0, intent.amount_cents - claim.amount_cents),
                "credit_micros": claim.amount_cents * MICROS_PER_CENT,
                "bonus_micros": claim.bonus_micros,
                "bonus_days": claim.bonus_days,
                "stripe_customer_id": intent.customer_id,
                "stripe_payment_intent_id": intent.id,
                "created_at": intent.created,
                "expires_at": intent.created + timedelta(days=1),
            },
        )
    if is_new:
        logger.warning("payment %s was lost and is here again", row.public_id)
    return row
