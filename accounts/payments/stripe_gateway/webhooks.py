"""What Stripe sends by itself: the types we listen to, and the check that it was Stripe."""

from __future__ import annotations

import time
from collections.abc import Sequence

import stripe

from accounts.payments.facts import EventFacts, NotFromStripe
from accounts.payments.stripe_gateway.translate import id_of, moment

#: At most twenty, as Stripe's list of events takes no more.
EVENT_TYPES = (
    "checkout.session.completed",
    "checkout.session.async_payment_succeeded",
    "checkout.session.async_payment_failed",
    "checkout.session.expired",
    "payment_intent.succeeded",
    "payment_intent.payment_failed",
    "payment_intent.processing",
    "payment_intent.canceled",
    "charge.refunded",
    "refund.created",
    "refund.updated",
    "refund.failed",
    "charge.dispute.created",
    "charge.dispute.updated",
    "charge.dispute.closed",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.funds_reinstated",
)
_TOLERANCE_SECONDS = 300


def facts(found: stripe.Event, payload: str) -> EventFacts:
    """An event's ids."""
    return EventFacts(
        id=found.id,
        type=found.type,
        api_version=found.api_version or "",
        livemode=found.livemode,
        object_id=str(getattr(found.data.object, "id", "") or ""),
        intent_id=_intent_id(found.data.object),
        created=moment(found.created),
        payload=payload,
    )


def _intent_id(found: stripe.StripeObject) -> str:
    """The payment intent an object is, or belongs to."""
    if isinstance(found, stripe.PaymentIntent):
        return found.id
    return id_of(getattr(found, "payment_intent", None))


class Verifier:
    """Says whether a body came from Stripe, by any of the secrets: two are in force while one is rotated."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._secrets = [each for each in secrets if each]

    def event(self, body: bytes, signature: str) -> EventFacts:
        """The event in a webhook's raw body. Raises NotFromStripe for whatever is wrong with it.

        The SDK's own check lets several errors of odd bodies through and takes times in the future; this one does not.
        """
        self._check(body, signature)
        try:
            payload = body.decode()
            found = facts(stripe.Webhook.construct_event_without_verification(payload), payload)
            if not _is_whole(found):
                raise NotFromStripe("That is no event.")
            return found
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError, OverflowError, OSError) as error:
            raise NotFromStripe(f"The body is no event: {type(error).__name__}.") from error

    def _check(self, body: bytes, signature: str) -> None:
        if not signature.isascii() or _sent_at(signature) > time.time() + _TOLERANCE_SECONDS:
            raise NotFromStripe("The signature is malformed, or from the future.")
        for secret in self._secrets:
            try:
                stripe.WebhookSignature.verify_header(body, signature, secret, _TOLERANCE_SECONDS)
            except (stripe.SignatureVerificationError, UnicodeDecodeError, TypeError):
                continue
            return
        raise NotFromStripe("No secret of ours made that signature, or it is too old.")


def _is_whole(found: EventFacts) -> bool:
    """Whether the parts of an event are what they should be: the SDK looks at none of them."""
    texts = (found.id, found.type, found.api_version, found.object_id, found.intent_id)
    are_texts = all(isinstance(each, str) and len(each) < 100 and each.isascii() for each in texts)
    return are_texts and found.id.startswith("evt_") and bool(found.type) and isinstance(found.livemode, bool)


def _sent_at(signature: str) -> float:
    """The time in `t=...,v1=...`, or infinity where there is none."""
    parts = dict(each.strip().partition("=")[::2] for each in signature.split(","))
    text = parts.get("t", "")
    return int(text) if text.isdigit() and len(text) < 15 else float("inf")
