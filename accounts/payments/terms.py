"""What a top-up may be, and what comes on top: amounts, bonus steps, and how often somebody may try."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import ROUND_DOWN, Decimal

from django.conf import settings

from accounts.ledger.models import Wallet
from accounts.models import Account
from accounts.payments.models import BonusStep, Payment
from accounts.payments.models.payments import MICROS_PER_CENT

_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)


class TopUpRefused(Exception):
    """Why a top-up is not started, in a sentence for its customer."""


def offered_cents() -> list[int]:
    """Amounts to choose from, within the bounds."""
    return [cents for cents in settings.NBP_TOP_UP_OFFERS_CENTS if minimum_cents() <= cents <= maximum_cents()]


def minimum_cents() -> int:
    return int(settings.NBP_TOP_UP_MINIMUM_CENTS)


def maximum_cents() -> int:
    return int(settings.NBP_TOP_UP_MAXIMUM_CENTS)


def check_amount(cents: int) -> None:
    """Raises TopUpRefused outside the bounds."""
    if not minimum_cents() <= cents <= maximum_cents():
        raise TopUpRefused(
            f"Choose an amount from ${minimum_cents() / 100:,.2f} to ${maximum_cents() / 100:,.2f}, in whole cents."
        )


def check_wallet(wallet: Wallet) -> None:
    """Raises TopUpRefused for an account that may start nothing new."""
    if wallet.account.status != Account.Status.ACTIVE or wallet.status == Wallet.Status.CLOSED:
        raise TopUpRefused("This account takes no credit. Ask the operator of this service.")


def check_pace(wallet: Wallet, *, now: datetime) -> None:
    """Raises TopUpRefused for those who try cards one after the other: too many tries, or too many that failed."""
    recent = Payment.objects.filter(wallet__account=wallet.account, kind=Payment.Kind.CHECKOUT)
    started = recent.filter(created_at__gt=now - _HOUR).count()
    # Where a card was tried and declined; what our own faults ended is nobody's try.
    tried = recent.filter(created_at__gt=now - _DAY, stripe_payment_intent_id__isnull=False)
    failed = tried.exclude(state=Payment.State.SUCCEEDED).exclude(error_code="").count()
    if started >= settings.NBP_TOP_UPS_PER_HOUR or failed >= settings.NBP_TOP_UP_FAILURES_PER_DAY:
        raise TopUpRefused("That were many tries in a short time. Try again later, or ask the operator.")


def bonus(cents: int) -> tuple[int, int | None]:
    """Micro-dollars on top of an amount, and the days they last (None: they stay)."""
    step = BonusStep.objects.filter(is_active=True, minimum_cents__lte=cents).order_by("-minimum_cents").first()
    if step is None:
        return 0, None
    micros = (Decimal(cents * MICROS_PER_CENT) * step.percent / 100).to_integral_value(ROUND_DOWN)
    # Whole cents: nobody reads a bonus of $3.333333.
    return int(micros) // MICROS_PER_CENT * MICROS_PER_CENT, step.credit_days
