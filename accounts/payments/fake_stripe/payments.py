"""Paying in the fake: intents, charges, Checkout pages and invoices."""

from __future__ import annotations

from typing import Any

from accounts.payments.fake_stripe.answers import Wrong, the
from accounts.payments.fake_stripe.cards import CARDS, LATER_SECONDS, Card, is_delayed
from accounts.payments.fake_stripe.events import emit
from accounts.payments.fake_stripe.store import Book, Object

_TAX_PERCENT = 10
_MINIMUM_CENTS, _MAXIMUM_CENTS = 50, 99_999_999


def amount(text: Any, name: str = "amount") -> int:
    """An amount in cents within Stripe's bounds."""
    cents = int(text) if isinstance(text, str) and text.isascii() and text.isdigit() and len(text) < 12 else -1
    if cents < 0:
        raise Wrong(400, f"Invalid integer: {text}", code="parameter_invalid_integer", param=name)
    if not _MINIMUM_CENTS <= cents <= _MAXIMUM_CENTS:
        code = "amount_too_small" if cents < _MINIMUM_CENTS else "amount_too_large"
        raise Wrong(400, "The amount is out of bounds.", code=code, param=name)
    return cents


def open_session(book: Book, asked: dict[str, Any], pages: str) -> Object:
    """POST /v1/checkout/sessions"""
    the(book, "customer", asked.get("customer", ""))
    item = asked["line_items"][0]
    price = item["price_data"]
    subtotal = amount(price["unit_amount"], "line_items[0][price_data][unit_amount]") * int(item.get("quantity", 1))
    expires_at = int(asked.get("expires_at", book.now + 86_400))
    if expires_at < book.now + 1_700:
        raise Wrong(400, "`expires_at` must be at least 30 minutes from now.", param="expires_at")
    is_taxed = asked.get("automatic_tax", {}).get("enabled") == "true"
    tax = subtotal * _TAX_PERCENT // 100 if is_taxed else 0
    session = book.make(
        "cs_test",
        "checkout.session",
        mode="payment",
        status="open",
        payment_status="unpaid",
        customer=asked["customer"],
        client_reference_id=asked.get("client_reference_id"),
        metadata=asked.get("metadata", {}),
        currency=price["currency"],
        amount_subtotal=subtotal,
        amount_total=subtotal + tax,
        total_details={"amount_discount": 0, "amount_shipping": 0, "amount_tax": tax},
        payment_intent=None,
        invoice=None,
        success_url=asked["success_url"],
        cancel_url=asked.get("cancel_url"),
        expires_at=expires_at,
        payment_method_types=["card", "link", "alipay", "wechat_pay"],
        _intent=asked.get("payment_intent_data", {}),
        _name=price["product_data"]["name"],
    )
    return book.put(session | {"url": f"{pages}/c/pay/{session['id']}"})


def expire_sessions(book: Book) -> None:
    """End the pages whose time is over."""
    for session in book.all("checkout.session"):
        if session["status"] == "open" and session["expires_at"] <= book.now:
            expire_session(book, session)


def expire_session(book: Book, session: Object) -> Object:
    """POST /v1/checkout/sessions/:id/expire"""
    if session["status"] != "open":
        raise Wrong(400, f"Only open sessions can be expired; this one is {session['status']}.")
    book.put(session | {"status": "expired", "url": None})
    emit(book, "checkout.session.expired", session["id"])
    return book.get(session["id"]) or session


def pay_session(book: Book, session: Object, number: str) -> str:
    """What happens when somebody pays on the page; answers why the card was declined, or an empty text."""
    card = CARDS[number]
    intent = (book.get(session["payment_intent"]) if session["payment_intent"] else None) or _session_intent(
        book, session
    )
    method = _method(book, number, session["customer"] if intent["setup_future_usage"] else None)
    intent = book.put(intent | {"payment_method": method["id"]})
    session = book.put(session | {"payment_intent": intent["id"]})
    if card.decline:
        decline(book, intent, card.decline)
        return card.decline
    if is_delayed(number):
        book.put(session | {"status": "complete", "url": None})
        book.put(intent | {"status": "processing"})
        emit(book, "payment_intent.processing", intent["id"])
        emit(book, "checkout.session.completed", session["id"])
        book.later(LATER_SECONDS, card.later, session["id"])
        return ""
    succeed(book, intent, card)
    complete(book, session)
    emit(book, "checkout.session.completed", session["id"])
    return ""


def end_delayed(book: Book, session: Object, *, is_paid: bool) -> None:
    """A delayed method ends, well or not."""
    intent = the(book, "payment_intent", session["payment_intent"])
    if is_paid:
        succeed(book, intent, CARDS["us_bank_account"])
        complete(book, session)
    else:
        decline(book, intent, "debit_not_authorized")
    emit(book, f"checkout.session.async_payment_{'succeeded' if is_paid else 'failed'}", session["id"])


def complete(book: Book, session: Object) -> None:
    """A paid page, with its invoice."""
    invoice = book.make(
        "in",
        "invoice",
        customer=session["customer"],
        status="paid",
        amount_paid=session["amount_total"],
        currency=session["currency"],
        hosted_invoice_url=f"{book.pages}/r/{session['id']}",
    )
    book.put(session | {"status": "complete", "payment_status": "paid", "invoice": invoice["id"], "url": None})


def _session_intent(book: Book, session: Object) -> Object:
    return make_intent(
        book,
        cents=session["amount_total"],
        currency=session["currency"],
        customer=session["customer"],
        metadata=session["_intent"].get("metadata", {}),
        setup_future_usage=session["_intent"].get("setup_future_usage"),
    )


def make_intent(book: Book, *, cents: int, currency: str, customer: str | None, **more: Any) -> Object:
    """A payment intent that nobody has paid yet."""
    fields = {"setup_future_usage": None, "metadata": {}, "payment_method": None} | more
    return book.make(
        "pi",
        "payment_intent",
        amount=cents,
        amount_received=0,
        currency=currency,
        customer=customer,
        status="requires_payment_method",
        latest_charge=None,
        last_payment_error=None,
        **fields,
    )


def _method(book: Book, number: str, customer: str | None) -> Object:
    card = CARDS[number]
    return book.make("pm", "payment_method", type=card.kind, customer=customer, _number=number, **_card_fields(number))


def _card_fields(number: str) -> dict[str, Any]:
    card = CARDS[number]
    if card.kind != "card":
        return {card.kind: {}}
    return {"card": {"brand": card.brand, "last4": number[-4:], "fingerprint": f"fp{number[-8:]}"}}


def charge(book: Book, intent: Object, *, is_paid: bool) -> Object:
    """A charge of an intent's method."""
    method = the(book, "payment_method", intent["payment_method"])
    number = method["_number"]
    made = book.make(
        "ch",
        "charge",
        amount=intent["amount"],
        amount_refunded=0,
        currency=intent["currency"],
        customer=intent["customer"],
        payment_intent=intent["id"],
        payment_method=method["id"],
        payment_method_details={"type": method["type"], **_card_fields(number)},
        status="succeeded" if is_paid else "failed",
        paid=is_paid,
        refunded=False,
        disputed=False,
        metadata=intent["metadata"],
        _number=number,
    )
    return book.put(made | {"receipt_url": f"{book.pages}/r/{made['id']}"})


def succeed(book: Book, intent: Object, card: Card) -> Object:
    """The money has come."""
    made = charge(book, intent, is_paid=True)
    changed = book.put(
        intent
        | {
            "status": "succeeded",
            "amount_received": intent["amount"],
            "latest_charge": made["id"],
            "last_payment_error": None,
        }
    )
    emit(book, "payment_intent.succeeded", intent["id"])
    if card.later == "dispute":
        book.later(LATER_SECONDS, "dispute", made["id"])
    return changed


def decline(book: Book, intent: Object, reason: str) -> Object:
    """The bank says no, and why."""
    made = charge(book, intent, is_paid=False)
    is_asking = reason == "authentication_required"
    error = {
        "type": "card_error",
        "code": "authentication_required" if is_asking else "card_declined",
        "decline_code": reason,
        "message": f"The payment was declined: {reason.replace('_', ' ')}.",
    }
    changed = book.put(
        intent | {"status": "requires_payment_method", "latest_charge": made["id"], "last_payment_error": error}
    )
    emit(book, "payment_intent.payment_failed", intent["id"])
    return changed


def create_intent(book: Book, asked: dict[str, Any]) -> Object:
    """POST /v1/payment_intents with confirm and off_session: a saved method is charged while its owner is away."""
    cents = amount(asked.get("amount"))
    method = the(book, "payment_method", asked.get("payment_method", ""))
    if method["customer"] != asked.get("customer"):
        raise Wrong(400, "The payment method does not belong to this customer.", code="payment_method_unexpected_state")
    intent = make_intent(
        book,
        cents=cents,
        currency=asked.get("currency", ""),
        customer=asked["customer"],
        metadata=asked.get("metadata", {}),
        payment_method=method["id"],
    )
    card = CARDS[method["_number"]]
    refused = card.decline or card.decline_away
    if not refused:
        return succeed(book, intent, card)
    declined = decline(book, intent, refused)
    error = declined["last_payment_error"]
    more = {"decline_code": error["decline_code"], "payment_intent": declined}
    raise Wrong(402, error["message"], code=error["code"], kind="card_error", **more)


def cancel_intent(book: Book, intent: Object) -> Object:
    """POST /v1/payment_intents/:id/cancel"""
    if intent["status"] in ("succeeded", "processing", "canceled"):
        raise Wrong(
            400, f"An intent that is {intent['status']} cannot be canceled.", code="payment_intent_unexpected_state"
        )
    changed = book.put(intent | {"status": "canceled"})
    emit(book, "payment_intent.canceled", intent["id"])
    return changed
