"""Money that comes in through Stripe, as rows: what was asked, what Stripe says, and which entries it made."""

from __future__ import annotations

from accounts.payments.models.inbox import Drift, ReconciliationRun, StripeEvent
from accounts.payments.models.payments import Customer, Dispute, Payment, PaymentEntry, Refund
from accounts.payments.models.rules import AutoRecharge, BonusStep

__all__ = [
    "AutoRecharge",
    "BonusStep",
    "Customer",
    "Dispute",
    "Drift",
    "Payment",
    "PaymentEntry",
    "ReconciliationRun",
    "Refund",
    "StripeEvent",
]
