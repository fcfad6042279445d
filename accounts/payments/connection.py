"""Which Stripe this installation talks to: the real one, a fake on a loopback port or in this process, or none."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from accounts.payments.fake_stripe import FakeStripe, InProcessClient
from accounts.payments.stripe_gateway import StripeGateway, Verifier

FAKE_PAGES = "/dev/stripe"


@dataclass(frozen=True, slots=True)
class Connection:
    """A gateway, the check of its webhooks, and the fake behind it, if it is one of this process."""

    gateway: StripeGateway
    verifier: Verifier
    fake: FakeStripe | None = None

    @property
    def mode(self) -> str:
        """The mode of the wallets its money belongs to: real money is live, everything else is test."""
        return self.gateway.mode


@functools.cache
def current() -> Connection | None:
    """None where no payments are set up: production without STRIPE_SECRET_KEY."""
    if settings.STRIPE_SECRET_KEY:
        gateway = StripeGateway(settings.STRIPE_SECRET_KEY, api_base=settings.NBP_STRIPE_API_BASE)
        return Connection(gateway, Verifier(settings.STRIPE_WEBHOOK_SECRETS))
    if not settings.NBP_IS_DEVELOPMENT:
        return None
    return with_fake(FakeStripe(Path(settings.NBP_DATA_DIR) / "fake_stripe.sqlite3", pages=FAKE_PAGES))


def with_fake(fake: FakeStripe, *, retries: int = 2) -> Connection:
    """A connection to a fake of this process, through the real SDK."""
    gateway = StripeGateway(fake.secret_key, http_client=InProcessClient(fake), retries=retries)
    return Connection(gateway, Verifier([fake.webhook_secret]), fake)
