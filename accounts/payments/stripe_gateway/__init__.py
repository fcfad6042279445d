"""Stripe, spoken here and nowhere else: the SDK's objects come in, the facts of `accounts.payments.facts` go out."""

from __future__ import annotations

from accounts.payments.stripe_gateway.calls import API_VERSION, StripeGateway
from accounts.payments.stripe_gateway.webhooks import EVENT_TYPES, Verifier

__all__ = ["API_VERSION", "EVENT_TYPES", "StripeGateway", "Verifier"]
