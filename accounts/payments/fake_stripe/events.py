"""Events of the fake: kept for its list, and sent signed to whoever listens, with the disorder that real ones have."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import stripe

from accounts.payments.fake_stripe.answers import shown
from accounts.payments.fake_stripe.store import Book, Object, Store

API_VERSION = "2026-10-28.endive"
_TRIES = 6
#: (url, body, headers) -> HTTP status. An empty url is the service this fake lives in.
Send = Callable[[str, bytes, dict[str, str]], int]


@dataclass
class Disorder:
    """What goes wrong with deliveries: copies of each, how late they come, newest first, or none at all."""

    copies: int = 1
    delay_seconds: float = 0.0
    is_reversed: bool = False
    is_mute: bool = False
    api_version: str = API_VERSION


def emit(book: Book, kind: str, object_id: str) -> None:
    """Note that something happened to an object, with a picture of it as it is now."""
    found = book.get(object_id)
    assert found is not None
    event = book.make(
        "evt",
        "event",
        type=kind,
        api_version=API_VERSION,
        pending_webhooks=1,
        request={"id": None, "idempotency_key": None},
        data={"object": shown(book, found)},
    )
    book.later(0, "deliver", event["id"])


def deliver(store: Store, now: float, send: Send, secret: str, disorder: Disorder) -> int:
    """Send what is due, and again later what was not taken. Answers how many were sent."""
    with store.book(now - disorder.delay_seconds) as book:
        due = book.due("deliver")
        events = [(found, tries) for event_id, tries in due if (found := book.get(event_id))]
        endpoints = [(each["url"], each["_secret"]) for each in book.all("webhook_endpoint")] or [("", secret)]
    if disorder.is_mute:
        return 0
    if disorder.is_reversed:
        events.reverse()
    for event, tries in events:
        taken = [
            _send(send, url, event | {"api_version": disorder.api_version}, endpoint_secret)
            for url, endpoint_secret in endpoints
            for _ in range(disorder.copies)
        ]
        if not all(taken) and tries < _TRIES:
            with store.book(now) as book:
                book.later(2.0**tries, "deliver", event["id"], tries + 1)
    return len(events)


def _send(send: Send, url: str, event: Object, secret: str) -> bool:
    body = json.dumps(event)
    # Signed by the real clock, however far a test has pushed the fake's.
    signature = stripe.WebhookSignature.generate_signature_header(body, secret)
    try:
        status = send(url, body.encode(), {"Content-Type": "application/json", "Stripe-Signature": signature})
    except OSError:
        return False
    return 200 <= status < 300
