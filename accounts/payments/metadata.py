"""What we write beside a payment at Stripe, signed, so that a row that was lost can be made again."""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings
from django.utils.crypto import constant_time_compare, salted_hmac

from accounts.payments.facts import Labels
from accounts.payments.models import Payment

_SALT = "accounts.payments.metadata"


@dataclass(frozen=True, slots=True)
class Claim:
    """What signed labels say: whose payment it was, what it buys and what comes on top."""

    account_id: str
    kind: str
    amount_cents: int
    bonus_micros: int
    bonus_days: int | None


def labels(payment: Payment) -> Labels:
    """The labels of a payment."""
    terms = (
        f"{payment.wallet.account.public_id} {payment.kind} {payment.amount_cents} {payment.bonus_micros} "
        f"{payment.bonus_days or '-'}"
    )
    signature = _signature(payment.public_id, terms, settings.SECRET_KEY)
    return Labels(payment_id=payment.public_id, terms=terms, signature=signature)


def claim(found: Labels) -> Claim | None:
    """What labels say, if we signed them."""
    keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    signatures = [_signature(found.payment_id, found.terms, key) for key in keys]
    if not found.payment_id or not any(constant_time_compare(each, found.signature) for each in signatures):
        return None
    account_id, kind, amount, bonus, days = found.terms.split()
    return Claim(account_id, kind, int(amount), int(bonus), int(days) if days != "-" else None)


def _signature(payment_id: str, terms: str, key: str | bytes) -> str:
    return salted_hmac(_SALT, f"{payment_id} {terms}", secret=key, algorithm="sha256").hexdigest()
