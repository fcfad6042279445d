"""The questions we ask Stripe. Every request that changes something carries a key of ours, written down before."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import ParamSpec, TypeVar, cast

import stripe
from stripe.params import WebhookEndpointCreateParams
from stripe.params.checkout import SessionCreateParams

from accounts.payments.facts import (
    CheckoutFacts,
    CheckoutOrder,
    DisputeFacts,
    EventFacts,
    IntentFacts,
    Labels,
    RefundFacts,
    StripeRefused,
    StripeUnavailable,
    WebhookEndpoint,
)
from accounts.payments.stripe_gateway import translate, webhooks
from accounts.transactions import forbid_transaction

#: The version of stripe 16.1.0. A newer SDK is a decision, not an accident.
API_VERSION = "2026-10-28.endive"
_TIMEOUT_SECONDS = 20
_EXPANDED = ["payment_intent.latest_charge", "invoice"]
P = ParamSpec("P")
R = TypeVar("R")


def _asks(call: Callable[P, R]) -> Callable[P, R]:
    """No transaction is open while we wait, and each way to fail has one of two names."""

    @functools.wraps(call)
    def asked(*args: P.args, **kwargs: P.kwargs) -> R:
        forbid_transaction()
        try:
            return call(*args, **kwargs)
        except (stripe.APIConnectionError, stripe.RateLimitError) as error:
            raise StripeUnavailable(str(error)[:300]) from error
        except (stripe.CardError, stripe.InvalidRequestError) as error:
            raise StripeRefused(str(error.user_message or error)[:300], error.code or "", error.param or "") from error
        except stripe.StripeError as error:
            # A server's error, or a key that may not: both may be over when we ask again. An idempotency key that was
            # used with other words says that something was carried out, and not what.
            raise StripeUnavailable(f"{type(error).__name__}: {error}"[:300]) from error

    return asked


class StripeGateway:
    """Stripe with one secret key. `mode` is the wallets' mode that its money belongs to."""

    def __init__(
        self, secret_key: str, *, api_base: str = "", http_client: stripe.HTTPClient | None = None, retries: int = 2
    ) -> None:
        self._client = stripe.StripeClient(
            secret_key,
            stripe_version=API_VERSION,
            max_network_retries=retries,
            base_addresses={"api": api_base} if api_base else None,
            http_client=http_client or stripe.RequestsClient(timeout=_TIMEOUT_SECONDS),
        )
        self.livemode = is_live_key(secret_key)
        self.mode = "live" if self.livemode else "test"

    @_asks
    def make_customer(self, *, account_id: str, email: str, name: str, key: str) -> str:
        """A customer for an account; its id."""
        found = self._client.v1.customers.create(
            {"email": email, "name": name, "metadata": {"account_id": account_id}}, {"idempotency_key": key}
        )
        return found.id

    @_asks
    def open_checkout(self, order: CheckoutOrder, *, key: str) -> CheckoutFacts:
        """Make a Checkout page. The same key and order give the same page."""
        return translate.checkout(self._client.v1.checkout.sessions.create(_params(order), {"idempotency_key": key}))

    @_asks
    def checkout(self, session_id: str) -> CheckoutFacts:
        """A Checkout page as it is now."""
        return translate.checkout(self._client.v1.checkout.sessions.retrieve(session_id, {"expand": _EXPANDED}))

    @_asks
    def pay_off_session(
        self, *, labels: Labels, customer_id: str, method_id: str, amount_cents: int, description: str, key: str
    ) -> IntentFacts:
        """Take money from a saved method while its owner is away. A decline is a fact here, not an error."""
        try:
            found = self._client.v1.payment_intents.create(
                {
                    "amount": amount_cents,
                    "currency": "usd",
                    "customer": customer_id,
                    "payment_method": method_id,
                    "off_session": True,
                    "confirm": True,
                    "description": description,
                    "metadata": translate.metadata(labels),
                    "expand": ["latest_charge"],
                },
                {"idempotency_key": key},
            )
        except stripe.CardError as error:
            declined = error.error.payment_intent if error.error else None
            if declined is None:
                raise
            return translate.intent(declined)
        return translate.intent(found)

    @_asks
    def intent(self, intent_id: str) -> IntentFacts:
        """A payment intent as it is now."""
        return translate.intent(self._client.v1.payment_intents.retrieve(intent_id, {"expand": ["latest_charge"]}))

    @_asks
    def intents(self, *, since: datetime, customer_id: str = "") -> Iterator[IntentFacts]:
        """Payment intents made since then, newest first."""
        listed = self._client.v1.payment_intents.list(
            {
                "created": {"gte": int(since.timestamp())},
                "limit": 100,
                "expand": ["data.latest_charge"],
                **({"customer": customer_id} if customer_id else {}),
            }
        )
        return _each(listed, translate.intent)

    @_asks
    def cancel_intent(self, intent_id: str, *, key: str) -> IntentFacts:
        """Give up a payment intent that is not paid."""
        found = self._client.v1.payment_intents.cancel(
            intent_id, {"expand": ["latest_charge"]}, {"idempotency_key": key}
        )
        return translate.intent(found)

    @_asks
    def make_refund(self, *, intent_id: str, amount_cents: int, refund_id: str, key: str) -> RefundFacts:
        """Send part of a payment back."""
        found = self._client.v1.refunds.create(
            {"payment_intent": intent_id, "amount": amount_cents, "metadata": {translate.REFUND_KEY: refund_id}},
            {"idempotency_key": key},
        )
        return translate.refund(found)

    @_asks
    def refund(self, stripe_refund_id: str) -> RefundFacts:
        """A refund as it is now."""
        return translate.refund(self._client.v1.refunds.retrieve(stripe_refund_id))

    @_asks
    def refunds_of(self, intent_id: str) -> list[RefundFacts]:
        """Every refund of a payment intent, oldest first."""
        listed = self._client.v1.refunds.list({"payment_intent": intent_id, "limit": 100})
        return list(_each(listed, translate.refund))[::-1]

    @_asks
    def dispute(self, stripe_dispute_id: str) -> DisputeFacts:
        """A dispute as it is now."""
        return translate.dispute(self._client.v1.disputes.retrieve(stripe_dispute_id))

    @_asks
    def disputes_of(self, intent_id: str) -> list[DisputeFacts]:
        """Every dispute of a payment intent."""
        listed = self._client.v1.disputes.list({"payment_intent": intent_id, "limit": 100})
        return list(_each(listed, translate.dispute))

    @_asks
    def portal_url(self, *, customer_id: str, return_url: str) -> str:
        """A page of Stripe's where the customer sees cards and invoices."""
        return self._client.v1.billing_portal.sessions.create({"customer": customer_id, "return_url": return_url}).url

    @_asks
    def events(self, *, since: datetime) -> Iterator[EventFacts]:
        """Events of the types we listen to, newest first. Stripe lists those of thirty days."""
        listed = self._client.v1.events.list(
            {"created": {"gte": int(since.timestamp())}, "types": list(webhooks.EVENT_TYPES), "limit": 100}
        )
        return _each(listed, lambda found: webhooks.facts(found, str(found)))

    @_asks
    def make_endpoint(self, url: str) -> WebhookEndpoint:
        """Have events sent to `url`, in our version of the API."""
        params = {"url": url, "enabled_events": list(webhooks.EVENT_TYPES), "api_version": API_VERSION}
        found = self._client.v1.webhook_endpoints.create(cast("WebhookEndpointCreateParams", params))
        return WebhookEndpoint(found.id, found.url, found.api_version or "", found.secret or "")

    @_asks
    def endpoints(self) -> list[WebhookEndpoint]:
        """Where events are sent now; their secrets are not told again."""
        listed = self._client.v1.webhook_endpoints.list({"limit": 100})
        return list(_each(listed, lambda found: WebhookEndpoint(found.id, found.url, found.api_version or "", "")))


def is_live_key(secret_key: str) -> bool:
    """Whether a secret (`sk_`) or restricted (`rk_`) key moves real money."""
    return secret_key.startswith(("sk_live_", "rk_live_"))


S = TypeVar("S", bound=stripe.StripeObject)


def _each(listed: stripe.ListObject[S], read: Callable[[S], R]) -> Iterator[R]:
    """Every object of a list, page by page; asking for a page can fail like any other question."""
    pages = iter(listed.auto_paging_iter())
    following = _asks(lambda: next(pages, None))
    while (found := following()) is not None:
        yield read(found)


def _params(order: CheckoutOrder) -> SessionCreateParams:
    """Which methods are offered is chosen in Stripe's dashboard, by the customer's country and device."""
    params: SessionCreateParams = {
        "mode": "payment",
        "customer": order.customer_id,
        "client_reference_id": order.labels.payment_id,
        "metadata": translate.metadata(order.labels),
        "line_items": [
            {
                "quantity": 1,
                "price_data": {
                    "currency": "usd",
                    "unit_amount": order.amount_cents,
                    "tax_behavior": "exclusive",
                    "product_data": {"name": order.description, "tax_code": order.tax_code},
                },
            }
        ],
        "payment_intent_data": {"metadata": translate.metadata(order.labels)},
        "invoice_creation": {"enabled": True},
        "success_url": order.success_url,
        "cancel_url": order.cancel_url,
        "expires_at": int(order.expires_at.timestamp()),
        "expand": _EXPANDED,
    }
    if order.is_card_saved:
        params["payment_intent_data"]["setup_future_usage"] = "off_session"
    if order.is_tax_automatic:
        params["automatic_tax"] = {"enabled": True}
        params["customer_update"] = {"address": "auto"}
        params["tax_id_collection"] = {"enabled": True}
        params["customer_update"]["name"] = "auto"
    return params
