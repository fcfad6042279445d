"""Auto-recharge: when a wallet runs low its saved card is charged, one payment at a time and within a ceiling."""

from __future__ import annotations

import contextlib
import logging
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import F, Q, QuerySet, Sum

from accounts import crash_points
from accounts.ledger.limits import month_of
from accounts.ledger.models import Wallet
from accounts.models import Account
from accounts.notices import outbox
from accounts.payments import connection, metadata, terms, top_ups, verdicts
from accounts.payments.customers import known_customer
from accounts.payments.facts import IntentFacts, StripeRefused, StripeUnavailable
from accounts.payments.models import AutoRecharge, Payment, ReconciliationRun
from accounts.payments.models.payments import MICROS_PER_CENT, UNFINISHED, Overtaken
from accounts.payments.stripe_gateway import StripeGateway
from accounts.transactions import write_transaction

logger = logging.getLogger(__name__)
State = Payment.State
_PAUSE = timedelta(minutes=1)
_PAUSE_AFTER_DECLINE = timedelta(hours=1)
_CHECK = timedelta(seconds=30)
_KEY_LIFE = timedelta(hours=23)
_MAX_DECLINES = 2
_LOOKS = 5


def saved_method(wallet: Wallet) -> tuple[str, str]:
    """The newest method that was saved for later, and its name; empty texts where there is none."""
    rows = Payment.objects.filter(wallet=wallet, state=State.SUCCEEDED, is_card_saved=True).exclude(
        payment_method_id=""
    )
    row = rows.order_by("-created_at").first()
    return (row.payment_method_id, row.method) if row else ("", "")


def set_up(
    wallet: Wallet,
    *,
    is_enabled: bool,
    threshold_micros: int,
    amount_cents: int,
    monthly_ceiling_cents: int,
    now: datetime,
) -> AutoRecharge:
    """Set or change a wallet's auto-recharge. Raises terms.TopUpRefused; switching it off is never refused."""
    method_id, method = saved_method(wallet)
    if is_enabled:
        _check(method_id, amount_cents, monthly_ceiling_cents)
        if threshold_micros > monthly_ceiling_cents * MICROS_PER_CENT:
            raise terms.TopUpRefused("The balance to recharge at is above what may be bought in a month.")
    fields = {
        "is_enabled": is_enabled,
        "threshold_micros": threshold_micros,
        "amount_cents": max(1, amount_cents),
        "monthly_ceiling_cents": max(1, monthly_ceiling_cents),
        "payment_method_id": method_id,
        "method": method,
        "declines": 0,
        "stopped_because": "",
        "next_try_at": None,
        "updated_at": now,
    }
    row, _ = AutoRecharge.objects.update_or_create(wallet=wallet, defaults=fields)
    return row


def _check(method_id: str, amount_cents: int, monthly_ceiling_cents: int) -> None:
    if settings.NBP_STRIPE_TAX:
        raise terms.TopUpRefused("Automatic recharge is not offered here, as tax is added to each payment.")
    terms.check_amount(amount_cents)
    if not method_id:
        raise terms.TopUpRefused("Top up once with a card and let it be saved; then it can be charged automatically.")
    if monthly_ceiling_cents < amount_cents:
        raise terms.TopUpRefused("The monthly ceiling must allow for at least one recharge.")


def _wanted(now: datetime) -> QuerySet[AutoRecharge]:
    """Rules that hold now: switched on, not pausing, and their wallet low and able to spend."""
    return AutoRecharge.objects.filter(
        Q(next_try_at=None) | Q(next_try_at__lte=now),
        is_enabled=True,
        wallet__status=Wallet.Status.ACTIVE,
        wallet__account__status=Account.Status.ACTIVE,
        wallet__available_micros__lt=F("threshold_micros"),
    )


def run_due(*, now: datetime, limit: int = 20) -> int:
    """Recharge the wallets that ran low. Answers how many were tried.

    After a restore nobody's card is charged before a comparison with Stripe has found what was charged since.
    """
    stripe = connection.current()
    if stripe is None or settings.NBP_STRIPE_TAX:
        return 0
    if ReconciliationRun.objects.filter(is_urgent=True, finished_at=None).exists():
        return 0
    tried = 0
    for pk in list(_wanted(now).filter(wallet__mode=stripe.mode).order_by("pk").values_list("pk", flat=True)[:limit]):
        payment = _begin(pk, stripe.gateway, now=now)
        if payment is not None:
            crash_points.reached("auto.written")
            # A webhook may have been faster than the answer it tells of.
            with contextlib.suppress(Overtaken):
                _pay(payment, stripe.gateway, now=now, is_first=True)
            tried += 1
    return tried


def spent_this_month(wallet: Wallet, *, now: datetime) -> int:
    """Cents that auto-recharge took since the first of the month (UTC), or is about to take."""
    rows = Payment.objects.filter(
        wallet=wallet, kind=Payment.Kind.AUTO, created_at__gte=month_of(now), state__in=(*UNFINISHED, State.SUCCEEDED)
    )
    return rows.aggregate(total=Sum("amount_cents"))["total"] or 0


def _begin(pk: int, gateway: StripeGateway, *, now: datetime) -> Payment | None:
    """Write the payment down before Stripe hears of it, if the rule still holds once it is locked: others work, too.

    None where it does not, where a payment is under way, or where the ceiling is reached.
    """
    with write_transaction():
        AutoRecharge.objects.select_for_update(no_key=True).get(pk=pk)
        row = _wanted(now).select_related("wallet__account").filter(pk=pk).first()
        if row is None or _is_under_way(row.wallet):
            return None
        if spent_this_month(row.wallet, now=now) + row.amount_cents > row.monthly_ceiling_cents:
            _at_the_ceiling(row, now=now)
            return None
        bonus_micros, bonus_days = terms.bonus(row.amount_cents)
        return Payment.objects.create(
            wallet=row.wallet,
            kind=Payment.Kind.AUTO,
            livemode=gateway.livemode,
            amount_cents=row.amount_cents,
            credit_micros=row.amount_cents * MICROS_PER_CENT,
            bonus_micros=bonus_micros,
            bonus_days=bonus_days,
            stripe_customer_id=known_customer(row.wallet.account, livemode=gateway.livemode),
            payment_method_id=row.payment_method_id,
            method=row.method,
            created_at=now,
            expires_at=now + _KEY_LIFE,
            next_check_at=now + _CHECK,
        )


def _is_under_way(wallet: Wallet) -> bool:
    """The database allows one at a time, too."""
    return Payment.objects.filter(wallet=wallet, kind=Payment.Kind.AUTO, state__in=UNFINISHED).exists()


def look(payment: Payment, *, now: datetime) -> Payment:
    """Find out what became of a recharge; ask for it again where Stripe never heard of it and it is still wanted."""
    for _ in range(_LOOKS):
        known = Payment.objects.select_related("wallet__account").get(pk=payment.pk)
        with contextlib.suppress(Overtaken):
            return _pay(known, top_ups.gateway_of(known), now=now)
    raise StripeUnavailable("Others follow this payment at the moment.")


def _pay(payment: Payment, gateway: StripeGateway, *, now: datetime, is_first: bool = False) -> Payment:
    """Have Stripe charge the saved method, or find out what became of it. The same key, so never twice."""
    try:
        intent = _made(payment, gateway) if is_first else _intent_of(payment, gateway, now=now)
    except StripeUnavailable as error:
        logger.warning("auto-recharge %s waits: %s", payment.public_id, error)
        return payment
    except StripeRefused as error:
        logger.error("Stripe refused auto-recharge %s: %s", payment.public_id, error)
        return _end(payment, verdicts.Verdict(State.FAILED, error.code or "refused", str(error)), now=now)
    if intent is None:
        return _end(payment, verdicts.Verdict(State.EXPIRED, "not_made", "Stripe never heard of it."), now=now)
    crash_points.reached("auto.paid")
    verdict = verdicts.of_intent(payment, intent)
    settled = top_ups.settle(payment, intent, verdict, now=now, on_end=lambda row: _afterwards(row, now=now))
    if settled.state == State.FAILED and intent.status.startswith("requires_"):
        _give_up(intent, gateway, payment)
    return settled


def _made(payment: Payment, gateway: StripeGateway) -> IntentFacts:
    return gateway.pay_off_session(
        labels=metadata.labels(payment),
        customer_id=payment.stripe_customer_id,
        method_id=payment.payment_method_id,
        amount_cents=payment.amount_cents,
        description="Image credit, automatic recharge",
        key=f"pay:{payment.pk}:confirm",
    )


def _intent_of(payment: Payment, gateway: StripeGateway, *, now: datetime) -> IntentFacts | None:
    """The payment's intent: known, or in Stripe's list, or made now, if its owner still wants it. None: not made."""
    if payment.stripe_payment_intent_id:
        return gateway.intent(payment.stripe_payment_intent_id)
    listed = gateway.intents(since=payment.created_at - timedelta(hours=1), customer_id=payment.stripe_customer_id)
    found = next((each for each in listed if each.labels.payment_id == payment.public_id), None)
    # A key is good for a day at Stripe; an ended payment is never begun again.
    is_open = payment.state in UNFINISHED and now < payment.expires_at
    if found is not None or not is_open or not _wanted(now).filter(wallet_id=payment.wallet_id).exists():
        return found
    return _made(payment, gateway)


def _give_up(intent: IntentFacts, gateway: StripeGateway, payment: Payment) -> None:
    """A declined intent could still be paid later; it must not."""
    try:
        gateway.cancel_intent(intent.id, key=f"pay:{payment.pk}:cancel")
    except (StripeUnavailable, StripeRefused) as error:
        logger.warning("intent %s could not be canceled: %s", intent.id, error)


def _end(payment: Payment, verdict: verdicts.Verdict, *, now: datetime) -> Payment:
    with write_transaction():
        changed = Payment.objects.filter(pk=payment.pk, state__in=UNFINISHED).update(
            state=verdict.state,
            error_code=verdict.error_code[:100],
            error=verdict.error[:500],
            next_check_at=None,
            settled_at=now,
        )
        payment.refresh_from_db()
        if changed:
            _afterwards(payment, now=now)
    return payment


def _afterwards(payment: Payment, *, now: datetime) -> None:
    """A pause before the next; after two declines in a row, or where the owner must be there, it stops and says so."""
    row = AutoRecharge.objects.select_related("wallet__account").filter(wallet_id=payment.wallet_id).first()
    if row is None:
        return
    rule = AutoRecharge.objects.filter(pk=row.pk)
    if payment.state != State.FAILED:
        rule.update(next_try_at=now + _PAUSE, **({"declines": 0} if payment.state == State.SUCCEEDED else {}))
        return
    declines, code = row.declines + 1, payment.error_code
    is_over = declines >= _MAX_DECLINES or code == "authentication_required"
    why = "The bank wants you to confirm the payment." if code == "authentication_required" else payment.error
    rule.update(declines=F("declines") + 1, next_try_at=now + _PAUSE_AFTER_DECLINE)
    if is_over:
        rule.update(is_enabled=False, stopped_because=why[:200])
        _tell_of_the_end(row, payment, why, now=now)


def _tell_of_the_end(row: AutoRecharge, payment: Payment, why: str, *, now: datetime) -> None:
    body = (
        f"Your card ({row.method or 'saved method'}) could not be charged ${payment.amount_cents / 100:,.2f}.\n"
        f"{why}\n\nAutomatic recharge is off now. Nothing was charged. To pay this amount yourself, open\n"
        f"{outbox.link(f'/billing/?amount={payment.amount_cents / 100:.2f}')}\n"
    )
    key = f"auto_recharge:{payment.pk}"
    outbox.tell(row.wallet.account, key=key, subject="Automatic recharge has stopped", body=body, now=now)


def _at_the_ceiling(row: AutoRecharge, *, now: datetime) -> None:
    until = month_of(month_of(now) + timedelta(days=32))
    AutoRecharge.objects.filter(pk=row.pk).update(next_try_at=until)
    body = (
        f"Automatic recharge reached its monthly ceiling of ${row.monthly_ceiling_cents / 100:,.2f} and pauses until "
        f"{until:%Y-%m-%d}. You can top up yourself or change the ceiling:\n{outbox.link('/billing/')}\n"
    )
    key = f"auto_recharge_ceiling:{row.pk}:{until:%Y-%m}"
    outbox.tell(row.wallet.account, key=key, subject="Automatic recharge paused", body=body, now=now)
