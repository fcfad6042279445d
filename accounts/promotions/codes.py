"""Redeem a code: the use is counted and the credit given in one transaction."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta

from django.db import IntegrityError
from django.db.models import F, Q

from accounts import rate_limits
from accounts.identifiers import ALPHABET
from accounts.ledger import adjustments
from accounts.ledger.models import Entry
from accounts.models import Account
from accounts.promotions.models import Redemption, RedemptionCode
from accounts.transactions import write_transaction

_TRIES_PER_MINUTE = 5
_UNKNOWN = "There is no such code, or it is used up or over."


class RedemptionRefused(Exception):
    """Why a code brings nothing, in a sentence."""


def new_code() -> str:
    """A code nobody guesses: 16 letters and digits."""
    letters = "".join(secrets.choice(ALPHABET) for _ in range(16)).upper()
    return "-".join(letters[place : place + 4] for place in range(0, 16, 4))


def normalized(text: str) -> str:
    """How a code is kept and compared: capitals and digits."""
    return "".join(letter for letter in text.upper() if letter.isascii() and letter.isalnum())[:40]


def redeem(account: Account, text: str, *, now: datetime) -> Entry:
    """Give the account a code's credit. Raises RedemptionRefused; who guesses is slowed down."""
    if account.status != Account.Status.ACTIVE:
        raise RedemptionRefused("This account takes no credit. Ask the operator of this service.")
    if not rate_limits.hit(f"redeem:{account.pk}", per_minute=_TRIES_PER_MINUTE).is_allowed:
        raise RedemptionRefused("That were many tries. Wait a minute.")
    try:
        with write_transaction():
            return _redeem(account, normalized(text), now=now)
    except IntegrityError:
        raise RedemptionRefused("This account has redeemed this code before.") from None


def _redeem(account: Account, code: str, *, now: datetime) -> Entry:
    usable = RedemptionCode.objects.filter(
        Q(max_uses=None) | Q(use_count__lt=F("max_uses")),
        Q(valid_until=None) | Q(valid_until__gt=now),
        code=code,
        is_active=True,
    )
    if not code or not usable.update(use_count=F("use_count") + 1):
        raise RedemptionRefused(_UNKNOWN)
    row = RedemptionCode.objects.get(code=code)
    entry = adjustments.give(
        account=account,
        mode=row.mode,
        amount_micros=row.amount_micros,
        reason="Redeemed a code",
        now=now,
        # The entry's own key says it, too: once for each account.
        key=f"code:{row.pk}:{account.pk}",
        expires_at=now + timedelta(days=row.credit_days) if row.credit_days else None,
    )
    Redemption.objects.create(code=row, account=account, entry=entry, created_at=now)
    return entry
