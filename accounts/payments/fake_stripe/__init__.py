"""A Stripe of our own for development and tests: stateful, with its idempotency, webhooks, test cards and faults.

It moves play money only and refuses to be made outside development.
"""

from __future__ import annotations

from accounts.payments.fake_stripe.fake import FakeStripe
from accounts.payments.fake_stripe.in_process import InProcessClient

__all__ = ["FakeStripe", "InProcessClient"]
