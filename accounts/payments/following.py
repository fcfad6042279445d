"""One payment, brought to where Stripe says it is: what pollers, events and people call."""

from __future__ import annotations

from datetime import datetime

from accounts.payments import auto_recharge, disputes, refunds, top_ups
from accounts.payments.models import Payment


def follow(payment: Payment, *, now: datetime, is_whole: bool = False) -> Payment:
    """Converge a payment; `is_whole` with its refunds and disputes. Raises what asking Stripe raises."""
    if payment.kind == Payment.Kind.AUTO:
        found = auto_recharge.look(payment, now=now)
    else:
        # Money that comes for an account that was closed meanwhile goes back.
        found = top_ups.converge(payment.pk, now=now, on_end=lambda row: refunds.return_if_closed(row, now=now))
    if is_whole:
        refunds.converge(found, now=now)
        disputes.converge(found, now=now)
    return found
