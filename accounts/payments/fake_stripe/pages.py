"""The fake's Checkout page and portal, as a person sees them. The same for both ways in which it is served."""

from __future__ import annotations

from dataclasses import dataclass

from django.template.loader import render_to_string

from accounts.payments.fake_stripe.answers import Wrong
from accounts.payments.fake_stripe.cards import CARDS
from accounts.payments.fake_stripe.fake import FakeStripe


@dataclass(frozen=True, slots=True)
class Page:
    """What to show, or where to go."""

    status: int
    html: str = ""
    location: str = ""


def checkout(fake: FakeStripe, session_id: str, *, problem: str = "") -> Page:
    """GET: the page with its test cards."""
    try:
        session = fake.session(session_id)
    except Wrong as wrong:
        return _message(str(wrong), 404)
    if session["status"] != "open":
        return _message(f"This page is {session['status']}.", 410)
    context = {"session": session, "cards": CARDS, "problem": problem.replace("_", " ")}
    return Page(200, render_to_string("fake_stripe/checkout.html", context))


def pay(fake: FakeStripe, session_id: str, number: str) -> Page:
    """POST: pay, then back to the shop, or the page again with the reason of the decline."""
    try:
        problem = fake.pay(session_id, number)
        if problem:
            return checkout(fake, session_id, problem=problem)
        return Page(303, location=fake.session(session_id)["success_url"])
    except Wrong as wrong:
        return _message(str(wrong), wrong.status)


def portal(fake: FakeStripe, session_id: str) -> Page:
    """GET: cards and invoices of a customer, to look at."""
    found = next((each for each in fake.objects("billing_portal.session") if each["id"] == session_id), None)
    if found is None:
        return _message("This page is over.", 404)
    own = {
        kind: [each for each in fake.objects(kind) if each.get("customer") == found["customer"]]
        for kind in ("payment_method", "invoice")
    }
    context = {"methods": own["payment_method"], "invoices": own["invoice"], "back": found["return_url"]}
    return Page(200, render_to_string("fake_stripe/portal.html", context))


def receipt(fake: FakeStripe, object_id: str) -> Page:
    """GET: a receipt or an invoice, as far as play money has any."""
    kinds = ("charge", "checkout.session")
    found = next((each for kind in kinds for each in fake.objects(kind) if each["id"] == object_id), None)
    if found is None:
        return _message("There is no such paper.", 404)
    cents = found["amount"] if found["object"] == "charge" else found["amount_total"]
    return Page(200, render_to_string("fake_stripe/receipt.html", {"cents": cents, "id": object_id}))


def _message(text: str, status: int) -> Page:
    return Page(status, render_to_string("fake_stripe/message.html", {"text": text}))
