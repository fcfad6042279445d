"""The fake as a whole: it answers requests with idempotency and faults, lets people pay, and sends events."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from accounts.payments.fake_stripe import api, events, forms, payments, returns
from accounts.payments.fake_stripe.answers import Wrong, shown, the
from accounts.payments.fake_stripe.cards import CARDS
from accounts.payments.fake_stripe.store import Object, Store

SECRET_KEY = "sk_test_fake"  # noqa: S105 # nosec # opens nothing but this fake
WEBHOOK_SECRET = "whsec_fake"  # noqa: S105 # nosec # as above
_DROPPED = ("drop", "drop_after")
_ANSWERS = {"500": 500, "500_after": 500, "503": 503, "429": 429, "409": 409}


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer on the wire; None as status means that the connection breaks off."""

    status: int | None
    body: str
    headers: dict[str, str]


class FakeStripe:
    """One fake account. `pages` is the address before /c/pay/... of its Checkout pages."""

    def __init__(
        self,
        path: Path,
        *,
        pages: str,
        secret_key: str = SECRET_KEY,
        webhook_secret: str = WEBHOOK_SECRET,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not settings.NBP_IS_DEVELOPMENT:
            raise ImproperlyConfigured("The fake Stripe runs in development only (NBP_ENV=development).")
        self.store = Store(path, pages)
        self.pages = pages
        self.secret_key = secret_key
        self.webhook_secret = webhook_secret
        self.clock = clock
        self.disorder = events.Disorder()
        #: Requests that came, as "POST /v1/refunds", since the last `heard.clear()`.
        self.heard: list[str] = []
        self._delivering = threading.Lock()

    # --- the API -------------------------------------------------------------------------------------------------
    def answer(self, method: str, path: str, text: str, headers: dict[str, str]) -> Answer:
        """Answer a request: `path` from /v1/ on, `text` the form body or the query string."""
        self.heard.append(f"{method} {path}")
        asked_headers = {name.lower(): value for name, value in headers.items()}
        with self.store.book(self.clock()) as book:
            fault = book.take_fault(method, path)
            if fault and not fault.endswith("_after"):
                return _failed(fault)
            status, body = self._carried_out(book, method, path, text, asked_headers)
        return _failed(fault) if fault else Answer(status, body, _headers(status))

    def _carried_out(self, book: Any, method: str, path: str, text: str, headers: dict[str, str]) -> tuple[int, str]:
        if headers.get("authorization") != f"Bearer {self.secret_key}":
            return 401, json.dumps({"error": {"type": "invalid_request_error", "message": "Invalid API Key provided"}})
        key, asked = headers.get("idempotency-key", ""), f"{method} {path} {text}"
        known = book.replay(key) if key and method == "POST" else None
        if known is not None:
            return _replayed(known, asked)
        try:
            found = api.answer(book, method, path.removeprefix("/v1/"), forms.parse(text), self.pages)
            status, body = 200, json.dumps(found)
        except Wrong as wrong:
            status, body = wrong.status, json.dumps(wrong.body)
        if key and method == "POST" and status not in (400, 401, 404):
            # What failed its checks is not kept, as nothing was carried out.
            book.remember(key, asked, status, body)
        return status, body

    def fail_next(self, method: str, path: str, kind: str, *, times: int = 1) -> None:
        """Let coming requests fail: drop, 500, 503, 429, or, after they were carried out, drop_after, 500_after."""
        with self.store.book(self.clock()) as book:
            for _ in range(times):
                book.add_fault(method, path, kind)

    # --- people --------------------------------------------------------------------------------------------------
    def session(self, session_id: str) -> Object:
        """A Checkout page. Raises Wrong if there is none."""
        with self.store.book(self.clock()) as book:
            payments.expire_sessions(book)
            return the(book, "checkout.session", session_id)

    def pay(self, session_id: str, number: str = "4242424242424242") -> str:
        """Pay on a Checkout page with a test card; answers why it was declined, or an empty text."""
        if number not in CARDS:
            raise Wrong(400, "Choose one of the test cards.")
        with self.store.book(self.clock()) as book:
            payments.expire_sessions(book)
            session = the(book, "checkout.session", session_id)
            if session["status"] != "open":
                raise Wrong(400, f"This page is {session['status']}.")
            return payments.pay_session(book, session, number)

    def end_delayed(self, session_id: str, *, is_paid: bool) -> None:
        """The money of a delayed method comes, or does not."""
        with self.store.book(self.clock()) as book:
            payments.end_delayed(book, the(book, "checkout.session", session_id), is_paid=is_paid)

    def refund_in_dashboard(self, intent_id: str, cents: int) -> Object:
        """Somebody refunds without asking us."""
        with self.store.book(self.clock()) as book:
            return returns.create_refund(book, {"payment_intent": intent_id, "amount": cents})

    def fail_refund(self, refund_id: str) -> None:
        with self.store.book(self.clock()) as book:
            returns.fail_refund(book, the(book, "refund", refund_id))

    def open_dispute(self, charge_id: str, cents: int | None = None, *, is_inquiry: bool = False) -> str:
        """A customer calls a charge back; answers the dispute's id."""
        with self.store.book(self.clock()) as book:
            charge = the(book, "charge", charge_id)
            return str(returns.open_dispute(book, charge, cents, is_inquiry=is_inquiry)["id"])

    def close_dispute(self, dispute_id: str, *, is_won: bool) -> None:
        with self.store.book(self.clock()) as book:
            returns.close_dispute(book, the(book, "dispute", dispute_id), is_won=is_won)

    def change(self, object_id: str, **fields: Any) -> None:
        """Bend an object, to see whether anybody notices."""
        with self.store.book(self.clock()) as book:
            book.put((book.get(object_id) or {}) | fields)

    def objects(self, kind: str) -> list[Object]:
        """All objects of a kind, newest first."""
        with self.store.book(self.clock()) as book:
            return [shown(book, each) for each in book.all(kind)]

    # --- time ----------------------------------------------------------------------------------------------------
    def advance(self, send: events.Send) -> int:
        """Do what is due and send events, each once even where several advance. Answers how many were sent."""
        with self._delivering:
            with self.store.book(self.clock()) as book:
                payments.expire_sessions(book)
                for session_id, _ in book.due("paid"):
                    payments.end_delayed(book, the(book, "checkout.session", session_id), is_paid=True)
                for session_id, _ in book.due("unpaid"):
                    payments.end_delayed(book, the(book, "checkout.session", session_id), is_paid=False)
                for charge_id, _ in book.due("dispute"):
                    returns.open_dispute(book, the(book, "charge", charge_id))
                for refund_id, _ in book.due("fail_refund"):
                    returns.fail_refund(book, the(book, "refund", refund_id))
                for refund_id, _ in book.due("end_refund"):
                    returns.end_refund(book, the(book, "refund", refund_id))
            return events.deliver(self.store, self.clock(), send, self.webhook_secret, self.disorder)


def _replayed(known: tuple[str, int, str], asked: str) -> tuple[int, str]:
    asked_before, status, body = known
    if asked_before == asked:
        return status, body
    message = "Keys for idempotent requests can only be used with the same parameters they were first used with."
    return 400, json.dumps({"error": {"type": "idempotency_error", "message": message}})


def _failed(fault: str) -> Answer:
    if fault in _DROPPED:
        return Answer(None, "", {})
    status = _ANSWERS[fault]
    body = json.dumps({"error": {"type": "api_error", "message": "Something went wrong on Stripe's end."}})
    return Answer(status, body, _headers(status))


def _headers(status: int) -> dict[str, str]:
    return {"content-type": "application/json", "request-id": f"req_fake_{status}"}
