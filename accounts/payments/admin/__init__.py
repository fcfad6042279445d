"""Payments in the operator's admin: what came in, what went back, what Stripe said, and what differs."""

from accounts.payments.admin import events, payments, rules

__all__ = ["events", "payments", "rules"]
