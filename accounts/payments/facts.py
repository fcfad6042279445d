"""What Stripe says, as plain facts, and how asking it can end. Pure Python: only the gateway knows Stripe's objects."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


class StripeUnavailable(Exception):
    """No answer, or one that says nothing: the request may or may not have been carried out. Ask again, same key."""


class StripeRefused(Exception):
    """Stripe carried nothing out, and says why. `code` and `param` are Stripe's."""

    def __init__(self, message: str, code: str = "", param: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.param = param


class NotFromStripe(Exception):
    """A webhook's body or signature is not what Stripe sends."""


@dataclass(frozen=True, slots=True)
class Labels:
    """What we write beside an object at Stripe: which payment it is of, its terms, and our signature of both."""

    payment_id: str = ""
    terms: str = ""
    signature: str = ""


@dataclass(frozen=True, slots=True)
class CheckoutOrder:
    """A Checkout page to make: `amount_cents` net of tax, where to come back to, and until when it can be paid."""

    labels: Labels
    customer_id: str
    amount_cents: int
    description: str
    success_url: str
    cancel_url: str
    expires_at: datetime
    is_card_saved: bool
    is_tax_automatic: bool
    tax_code: str


@dataclass(frozen=True, slots=True)
class IntentFacts:
    """A payment intent, with its newest charge. Amounts in cents; `refunded_cents` is what Stripe sent back so far."""

    id: str
    status: str
    amount_cents: int
    received_cents: int
    currency: str
    livemode: bool
    customer_id: str
    labels: Labels
    created: datetime
    charge_id: str = ""
    refunded_cents: int = 0
    is_disputed: bool = False
    receipt_url: str = ""
    method_id: str = ""
    method: str = ""
    card_fingerprint: str = ""
    error_code: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class CheckoutFacts:
    """A Checkout page: `status` open, complete or expired; `payment_status` paid, unpaid or no_payment_required."""

    id: str
    status: str
    payment_status: str
    url: str
    livemode: bool
    currency: str
    customer_id: str
    labels: Labels
    subtotal_cents: int
    tax_cents: int
    total_cents: int
    invoice_url: str
    intent: IntentFacts | None


@dataclass(frozen=True, slots=True)
class RefundFacts:
    """A refund: `status` pending, requires_action, succeeded, failed or canceled."""

    id: str
    status: str
    amount_cents: int
    intent_id: str
    refund_id: str
    error: str


@dataclass(frozen=True, slots=True)
class DisputeFacts:
    """A dispute. `withdrawn_cents` is what Stripe has taken from us for it and not given back, without its fee."""

    id: str
    status: str
    reason: str
    amount_cents: int
    withdrawn_cents: int
    intent_id: str
    created: datetime


@dataclass(frozen=True, slots=True)
class EventFacts:
    """An event: only the ids in it are used. `payload` is the body as it came."""

    id: str
    type: str
    api_version: str
    livemode: bool
    object_id: str
    intent_id: str
    created: datetime
    payload: str


@dataclass(frozen=True, slots=True)
class WebhookEndpoint:
    """Where Stripe sends events; the secret is answered once, when the endpoint is made."""

    id: str
    url: str
    api_version: str
    secret: str
