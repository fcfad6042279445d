"""Top-ups: start one, and bring one to where Stripe says it is. Return page, webhook and poller all call `converge`."""

from __future__ import annotations

import contextlib
import logging
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings

from accounts import crash_points
from accounts.ledger import queries
from accounts.models import Account, User
from accounts.payments import connection, metadata, money, terms, verdicts
from accounts.payments.customers import customer_of, forget_customer
from accounts.payments.facts import CheckoutFacts, CheckoutOrder, IntentFacts, StripeRefused, StripeUnavailable
from accounts.payments.models import Payment
from accounts.payments.models.payments import MICROS_PER_CENT, UNFINISHED, Overtaken, locked_payment
from accounts.payments.stripe_gateway import StripeGateway
from accounts.transactions import write_transaction

logger = logging.getLogger(__name__)
State = Payment.State
_OPEN_FOR = timedelta(minutes=45)
_FIRST_CHECK = timedelta(seconds=60)
_DESCRIPTION = "Image credit"
_LOOKS = 5


class TopUpUnavailable(Exception):
    """Stripe could not be asked, or is not set up. Nothing was paid."""


def start(
    *, account: Account, amount_cents: int, user: User | None, origin: str, is_card_saved: bool, now: datetime
) -> Payment:
    """Start a top-up into the wallet of the connection's mode; `checkout_url` is where to pay.

    Raises terms.TopUpRefused or TopUpUnavailable. `origin` is the site's address, such as https://example.org.
    """
    stripe = connection.current()
    if stripe is None:
        raise TopUpUnavailable("Payments are not set up here.")
    wallet = queries.wallet_of(account.pk, stripe.mode)
    terms.check_amount(amount_cents)
    terms.check_wallet(wallet)
    terms.check_pace(wallet, now=now)
    try:
        customer_id = customer_of(account, stripe.gateway, now=now)
    except (StripeUnavailable, StripeRefused) as error:
        raise TopUpUnavailable("Our payment provider does not answer. Nothing was paid; try again soon.") from error
    bonus_micros, bonus_days = terms.bonus(amount_cents)
    with write_transaction():
        payment = Payment.objects.create(
            wallet=wallet,
            kind=Payment.Kind.CHECKOUT,
            livemode=stripe.gateway.livemode,
            amount_cents=amount_cents,
            credit_micros=amount_cents * MICROS_PER_CENT,
            bonus_micros=bonus_micros,
            bonus_days=bonus_days,
            is_card_saved=is_card_saved,
            is_tax_automatic=settings.NBP_STRIPE_TAX,
            origin=origin,
            stripe_customer_id=customer_id,
            created_by=user,
            created_at=now,
            expires_at=now + _OPEN_FOR,
            next_check_at=now + _FIRST_CHECK,
        )
    crash_points.reached("top_up.written")
    return _open(payment, stripe.gateway, now=now)


def _open(payment: Payment, gateway: StripeGateway, *, now: datetime) -> Payment:
    """Have Stripe make the page; the same call again gives the same page."""
    if now >= payment.expires_at:
        over = {"error_code": "not_opened", "error": "Stripe could not be reached in time.", "next_check_at": None}
        return _change(payment, state=State.EXPIRED, settled_at=now, **over)
    try:
        facts = gateway.open_checkout(_order(payment), key=f"pay:{payment.pk}:create")
    except StripeUnavailable as error:
        raise TopUpUnavailable("Our payment provider does not answer. Nothing was paid; try again soon.") from error
    except StripeRefused as error:
        _refused(payment, error, now=now)
        raise TopUpUnavailable("Our payment provider refused this. Ask the operator of this service.") from error
    crash_points.reached("top_up.opened")
    return _change(
        payment,
        state=State.OPEN,
        stripe_session_id=facts.id,
        checkout_url=facts.url,
        next_check_at=now + _FIRST_CHECK,
    )


def _refused(payment: Payment, error: StripeRefused, *, now: datetime) -> None:
    logger.error("Stripe refused to open a Checkout page: %s (%s)", error, error.code)
    code, words = error.code[:100], str(error)[:500]
    _change(payment, state=State.FAILED, error_code=code, error=words, next_check_at=None, settled_at=now)
    if (error.code, error.param) == ("resource_missing", "customer"):
        # The customer was made under another key. The next try makes one under this.
        forget_customer(payment.stripe_customer_id)


def _order(payment: Payment) -> CheckoutOrder:
    page = f"{payment.origin}/billing/"
    return CheckoutOrder(
        labels=metadata.labels(payment),
        customer_id=payment.stripe_customer_id,
        amount_cents=payment.amount_cents,
        description=_DESCRIPTION,
        success_url=f"{page}top-ups/{payment.public_id}/",
        cancel_url=page,
        expires_at=payment.expires_at,
        is_card_saved=payment.is_card_saved,
        is_tax_automatic=payment.is_tax_automatic,
        tax_code=settings.NBP_STRIPE_TAX_CODE,
    )


def _change(payment: Payment, **fields: Any) -> Payment:
    """Write a payment on that has no page yet; one that was found to be paid meanwhile stays as it is."""
    with write_transaction():
        Payment.objects.filter(pk=payment.pk, state=State.CREATED).update(**fields)
    payment.refresh_from_db()
    return payment


def converge(payment_id: uuid.UUID, *, now: datetime, on_end: Callable[[Payment], None] = lambda _: None) -> Payment:
    """Ask Stripe and follow: credit what is paid, end what is over. Harmless as often as it is called.

    Raises StripeUnavailable, or StripeRefused where Stripe knows nothing of the payment. `on_end` as for `settle`.
    """
    for _ in range(_LOOKS):
        payment = Payment.objects.select_related("wallet__account").get(pk=payment_id)
        gateway = gateway_of(payment)
        with contextlib.suppress(Overtaken):
            return _converge(payment, gateway, now=now, on_end=on_end)
    raise StripeUnavailable("Others follow this payment at the moment.")


def gateway_of(payment: Payment) -> StripeGateway:
    """The gateway that made a payment. Raises StripeRefused where the key is of the other mode."""
    stripe = connection.current()
    if stripe is None or stripe.gateway.livemode != payment.livemode:
        raise StripeRefused(f"This installation's Stripe key is not the one of payment {payment.public_id}.")
    return stripe.gateway


def _converge(payment: Payment, gateway: StripeGateway, *, now: datetime, on_end: Callable[[Payment], None]) -> Payment:
    has_page, has_intent = payment.stripe_session_id is not None, payment.stripe_payment_intent_id is not None
    if not has_page and not has_intent and payment.state == State.CREATED:
        payment = _open(payment, gateway, now=now)
    if payment.stripe_session_id is not None:
        page = gateway.checkout(payment.stripe_session_id)
        return settle(payment, page, verdicts.of_checkout(payment, page), now=now, on_end=on_end)
    if payment.stripe_payment_intent_id is None:
        return payment
    intent = gateway.intent(payment.stripe_payment_intent_id)
    return settle(payment, intent, verdicts.of_intent(payment, intent), now=now, on_end=on_end)


def settle(
    payment: Payment,
    facts: CheckoutFacts | IntentFacts,
    verdict: verdicts.Verdict,
    *,
    now: datetime,
    on_end: Callable[[Payment], None] = lambda _: None,
) -> Payment:
    """Write down what was found, and move the money with it, in one transaction; `on_end` is called in it, once, when
    the payment ends or is credited. Raises Overtaken if somebody else wrote something down since `payment` was read."""
    with write_transaction():
        row = locked_payment(payment)
        row.wallet = payment.wallet
        was = row.state
        _note(row, facts)
        if was != State.SUCCEEDED:
            _follow(row, verdict, now=now)
        row.save()
        if row.state not in UNFINISHED and row.state != was:
            on_end(row)
        crash_points.reached("payment.settling")
    crash_points.reached("payment.settled")
    if verdict.state == State.BLOCKED and was != State.BLOCKED:
        logger.error("payment %s is blocked: %s", row.public_id, verdict.error)
    return row


def _note(row: Payment, facts: CheckoutFacts | IntentFacts) -> None:
    """Ids, receipts and how it was paid."""
    intent = facts.intent if isinstance(facts, CheckoutFacts) else facts
    if isinstance(facts, CheckoutFacts):
        row.invoice_url = facts.invoice_url or row.invoice_url
        if row.state != State.SUCCEEDED:
            row.tax_cents = facts.tax_cents
    if intent is None:
        return
    row.stripe_payment_intent_id = intent.id
    if intent.received_cents:
        row.stripe_charge_id = intent.charge_id or row.stripe_charge_id
    row.receipt_url = intent.receipt_url or row.receipt_url
    row.payment_method_id = intent.method_id or row.payment_method_id
    row.method = intent.method or row.method
    row.card_fingerprint = intent.card_fingerprint or row.card_fingerprint


def _follow(row: Payment, verdict: verdicts.Verdict, *, now: datetime) -> None:
    row.state, row.error_code, row.error = verdict.state, verdict.error_code[:100], verdict.error
    if verdict.state == State.SUCCEEDED:
        money.credit(row, now=now)
    if verdict.state in (State.OPEN, State.PROCESSING):
        row.next_check_at = row.next_check_at or now + _FIRST_CHECK
        return
    row.next_check_at, row.checkout_url = None, ""
    row.settled_at = row.settled_at or now
