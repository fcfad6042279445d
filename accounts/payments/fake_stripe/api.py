"""The fake's endpoints: which function answers which path."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from typing import Any

from accounts.payments.fake_stripe import payments, returns
from accounts.payments.fake_stripe.answers import Wrong, page, shown, the
from accounts.payments.fake_stripe.store import Book, Object

Asked = dict[str, Any]
_Answer = Callable[[Book, Asked, str, str], Object]


def _make_customer(book: Book, asked: Asked, _: str, __: str) -> Object:
    return book.make(
        "cus", "customer", email=asked.get("email"), name=asked.get("name"), metadata=asked.get("metadata", {})
    )


def _make_endpoint(book: Book, asked: Asked, _: str, __: str) -> Object:
    secret = f"whsec_{secrets.token_hex(16)}"
    made = book.make(
        "we",
        "webhook_endpoint",
        url=asked["url"],
        enabled_events=asked.get("enabled_events", ["*"]),
        api_version=asked.get("api_version"),
        status="enabled",
        _secret=secret,
    )
    # The secret is told once, in this answer.
    return made | {"secret": secret}


def _portal(book: Book, asked: Asked, _: str, pages: str) -> Object:
    customer = the(book, "customer", asked.get("customer", ""))
    made = book.make("bps", "billing_portal.session", customer=customer["id"], return_url=asked.get("return_url"))
    return book.put(made | {"url": f"{pages}/p/session/{made['id']}"})


def _one(kind: str) -> _Answer:
    return lambda book, _, object_id, __: the(book, kind, object_id)


def _many(kind: str, *filters: str) -> _Answer:
    def listed(book: Book, asked: Asked, _: str, __: str) -> Object:
        wanted = {name: asked[name] for name in filters if name in asked}

        def is_wanted(found: Object) -> bool:
            types = asked.get("types")
            return all(found.get(name) == value for name, value in wanted.items()) and (
                not types or found["type"] in types
            )

        return page(book, book.all(kind), asked, f"/v1/{kind}s", is_wanted)

    return listed


def _session(book: Book, asked: Asked, _: str, pages: str) -> Object:
    return payments.open_session(book, asked, pages)


def _expire(book: Book, _: Asked, object_id: str, __: str) -> Object:
    return payments.expire_session(book, the(book, "checkout.session", object_id))


def _intent(book: Book, asked: Asked, _: str, __: str) -> Object:
    return payments.create_intent(book, asked)


def _cancel(book: Book, _: Asked, object_id: str, __: str) -> Object:
    return payments.cancel_intent(book, the(book, "payment_intent", object_id))


def _refund(book: Book, asked: Asked, _: str, __: str) -> Object:
    return returns.create_refund(book, asked)


def _balance(_: Book, __: Asked, ___: str, ____: str) -> Object:
    return {"object": "balance", "livemode": False, "available": [{"amount": 0, "currency": "usd"}], "pending": []}


_ROUTES: list[tuple[str, str, _Answer]] = [
    ("POST", "customers", _make_customer),
    ("GET", "customers/(\\w+)", _one("customer")),
    ("GET", "payment_methods/(\\w+)", _one("payment_method")),
    ("GET", "payment_methods", _many("payment_method", "customer", "type")),
    ("POST", "checkout/sessions", _session),
    ("GET", "checkout/sessions", _many("checkout.session", "customer", "payment_intent")),
    ("GET", "checkout/sessions/(\\w+)", _one("checkout.session")),
    ("POST", "checkout/sessions/(\\w+)/expire", _expire),
    ("POST", "payment_intents", _intent),
    ("GET", "payment_intents", _many("payment_intent", "customer")),
    ("GET", "payment_intents/(\\w+)", _one("payment_intent")),
    ("POST", "payment_intents/(\\w+)/cancel", _cancel),
    ("GET", "charges/(\\w+)", _one("charge")),
    ("GET", "invoices/(\\w+)", _one("invoice")),
    ("POST", "refunds", _refund),
    ("GET", "refunds", _many("refund", "payment_intent", "charge")),
    ("GET", "refunds/(\\w+)", _one("refund")),
    ("GET", "disputes", _many("dispute", "payment_intent", "charge")),
    ("GET", "disputes/(\\w+)", _one("dispute")),
    ("POST", "billing_portal/sessions", _portal),
    ("GET", "events", _many("event")),
    ("GET", "events/(\\w+)", _one("event")),
    ("POST", "webhook_endpoints", _make_endpoint),
    ("GET", "webhook_endpoints", _many("webhook_endpoint")),
    ("GET", "balance", _balance),
]


def answer(book: Book, method: str, path: str, asked: Asked, pages: str) -> Object:
    """The object or list for a request below /v1/. Raises Wrong for an error answer."""
    payments.expire_sessions(book)
    for verb, pattern, route in _ROUTES:
        match = re.fullmatch(pattern, path)
        if verb == method and match:
            try:
                found = route(book, asked, match.group(1) if match.groups() else "", pages)
            except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
                raise Wrong(400, f"A parameter is missing or malformed: {error}", code="parameter_missing") from error
            return shown(book, found, asked.get("expand", []))
    raise Wrong(404, f"Unrecognized request URL ({method}: /v1/{path}).")
