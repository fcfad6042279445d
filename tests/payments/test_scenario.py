"""A customer's way from an empty wallet to a refund: on the site, at the till, over the API, and proven at the end.

It runs against the fake in this process and over real HTTP. With NBP_TEST_STRIPE_KEY=sk_test_... (or rk_test_...) and
a network it runs against Stripe's own test mode, too, where Chromium types the card into Stripe's page.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.core import mail
from django.core.management import call_command
from django.test import Client

from accounts.ledger.models import Wallet
from accounts.models import Account, User
from accounts.payments import connection
from accounts.payments.connection import Connection
from accounts.payments.models import Payment, Refund
from accounts.payments.stripe_gateway import StripeGateway, Verifier
from tests.payments.conftest import SKINS, Clock, _connected

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("audited")]
STRIPE_KEY = os.environ.get("NBP_TEST_STRIPE_KEY", "")
STRIPE_ITSELF = pytest.param(
    "Stripe's test mode",
    marks=[
        pytest.mark.timeout(300),
        pytest.mark.skipif(
            not STRIPE_KEY.startswith(("sk_test_", "rk_test_")),
            reason="NO STRIPE: payments were NOT tried against Stripe's own test mode (set NBP_TEST_STRIPE_KEY)",
        ),
    ],
)
EMAIL, PASSWORD = "buyer@example.com", "a long enough secret 7"


@dataclass
class Shop:
    """The site, and somebody who pays on the page it leads to."""

    client: Client
    pay: Callable[[str], None]


@pytest.fixture(params=[*SKINS, STRIPE_ITSELF])
def shop(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    if request.param not in SKINS:
        found = Connection(StripeGateway(STRIPE_KEY), Verifier(["whsec_unused"]))
        monkeypatch.setattr(connection, "current", lambda: found)
        yield Shop(Client(), _pay_in_a_browser)
        return
    from accounts.payments.fake_stripe import FakeStripe

    def make(pages: str) -> FakeStripe:
        return FakeStripe(tmp_path / "stripe.sqlite3", pages=pages, clock=Clock())

    with _connected(request.param, make) as (found, fake):
        # The fake's own pages in this site need to find it.
        known = found if request.param == "over HTTP" else Connection(found.gateway, found.verifier, fake)
        monkeypatch.setattr(connection, "current", lambda: known)
        client = Client()
        yield Shop(client, lambda url: _pay_on_the_page(client, url))


def _pay_on_the_page(client: Client, url: str) -> None:
    """GET the fake's page, POST its form with the first card, and follow it back to the shop."""
    if url.startswith("/"):
        page, send = client.get(url).content.decode(), lambda card: client.post(url, {"card": card})["Location"]
    else:
        import urllib.parse
        import urllib.request

        class NoRedirect(urllib.request.HTTPRedirectHandler):
            def redirect_request(self, *_: Any) -> None:
                return None

        def send(card: str) -> str:
            opener = urllib.request.build_opener(NoRedirect)
            try:
                opener.open(url, data=urllib.parse.urlencode({"card": card}).encode(), timeout=10)
            except urllib.error.HTTPError as answer:
                return str(answer.headers["Location"])
            raise AssertionError("the page did not lead back")

        page = urllib.request.urlopen(url, timeout=10).read().decode()
    assert "$10.00" in page and "Play money" in page
    card = re.search(r'value="(\d{16})"', page)
    assert card is not None
    assert "/billing/top-ups/pay_" in send(card[1])


def _pay_in_a_browser(url: str) -> None:
    """Stripe's own page, with the card that always works."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("NO CHROMIUM: Stripe's page could not be filled in")
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(url)
        for selector, text in (
            ("#cardNumber", "4242424242424242"),
            ("#cardExpiry", "12 / 39"),
            ("#cardCvc", "123"),
            ("#billingName", "A Buyer"),
        ):
            page.locator(selector).fill(text)
        postal_code = page.locator("#billingPostalCode")
        if postal_code.count():
            postal_code.fill("94107")
        page.locator("button[type=submit]").first.click()
        page.wait_for_url("**/billing/top-ups/**", timeout=120_000, wait_until="commit")
        browser.close()


def _sign_up(client: Client) -> Account:
    client.post("/accounts/signup/", {"email": EMAIL, "password1": PASSWORD, "password2": PASSWORD})
    code = re.search(r"^\s*([A-Z0-9]{3,}(?:-[A-Z0-9]{3,})?)\s*$", mail.outbox[-1].body, re.MULTILINE)
    assert code is not None, mail.outbox[-1].body
    client.post("/accounts/confirm-email/", {"code": code[1]})
    account = User.objects.get(email=EMAIL).accounts.get()
    assert client.get("/billing/").status_code == 200
    return account


def _make_key(client: Client) -> str:
    page = client.get("/keys/").content.decode()
    ticket = re.search(r'name="ticket" value="([^"]+)"', page)
    assert ticket is not None
    made = client.post("/keys/", {"name": "mine", "mode": "test", "ticket": ticket[1]}).content.decode()
    key = re.search(r"nbp_test_\w+", made)
    assert key is not None
    return key[0]


def _command(name: str) -> Any:
    out = io.StringIO()
    call_command(name, "--json", stdout=out)
    return json.loads(out.getvalue())


def test_sign_up_buy_spend_refund_and_read_the_statement(shop: Shop, queue: Any, settings: Any) -> None:
    settings.NBP_PLAY_MONEY_MICROS = 0
    settings.NBP_SELF_REFUND_DAYS = 14
    settings.ACCOUNT_RATE_LIMITS = False
    client = shop.client
    account = _sign_up(client)

    started = client.post("/billing/", {"amount": "1000"})
    assert started.status_code == 302
    shop.pay(started["Location"])
    payment = Payment.objects.get()
    back = client.get(f"/billing/top-ups/{payment.public_id}/").content.decode()
    assert "Paid." in back and "$10.00" in back
    wallet = Wallet.objects.get(account=account, mode="test")
    assert wallet.available_micros == 10_000_000
    assert Wallet.objects.get(account=account, mode="live").available_micros == 0

    headers = {"authorization": f"Bearer {_make_key(client)}"}
    body = {"prompt": "A nano banana on a marble table", "image_size": "1K"}
    made = client.post("/api/v1/generations", body, content_type="application/json", headers=headers)
    assert made.status_code == 202, made.content
    queue.run_to_the_end()
    wallet.refresh_from_db()
    assert wallet.available_micros == 9_852_600

    page = client.get("/billing/").content.decode()
    once = re.search(r'name="once" value="([^"]+)"', page)
    assert once is not None and "Refund $9.85" in page
    assert client.post(f"/billing/top-ups/{payment.public_id}/refund/", {"once": once[1]}).status_code == 302
    client.post(f"/billing/top-ups/{payment.public_id}/refund/", {"once": once[1]})
    assert Refund.objects.get().amount_cents == 985
    wallet.refresh_from_db()
    assert wallet.available_micros == 2_600

    client.post("/mode/", {"mode": "test"})
    statement = client.get("/wallet/").content.decode()
    assert "Receipt" in statement and "$0.0026" in statement
    lines = list(csv.DictReader(io.StringIO(client.get("/wallet/statement.csv").content.decode())))
    assert [each["kind"] for each in lines] == ["refund", "capture", "hold", "top_up"]
    assert lines[0]["available_after_usd"] == "0.0026" and lines[0]["held_after_usd"] == "0.00"
    assert lines[-1]["payment"] == payment.public_id and lines[-1]["receipt"]

    assert _command("audit_ledger")["ok"] is True
    reconciled = _command("reconcile_payments")
    assert reconciled["ok"] is True and reconciled["payments_checked"] >= 1, reconciled


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"amount": "0"},
        {"amount": "-500"},
        {"amount": "499"},
        {"amount": "10000000000000000000000"},
        {"amount": "NaN"},
        {"amount": "1e999"},
        {"amount": "1000; DROP TABLE"},
        {"other": "4.99"},
        {"other": "-10"},
        {"other": "10.001"},
        {"other": "1,000"},
        {"other": "NaN"},
        {"other": "Infinity"},
        {"other": "1e9"},
        {"other": "€10"},
        {"other": "10\x00"},
        {"other": "1000.01"},
    ],
)
def test_amounts_that_are_none_start_nothing(shop: Shop, bob: Any, data: dict[str, str]) -> None:
    shop.client.force_login(bob.user, backend="django.contrib.auth.backends.ModelBackend")
    assert shop.client.post("/billing/", data).status_code == 422
    assert not Payment.objects.exists()


def test_a_refund_that_is_not_open_to_owners_is_refused(shop: Shop, bob: Any) -> None:
    client = shop.client
    client.force_login(bob.user, backend="django.contrib.auth.backends.ModelBackend")
    shop.pay(client.post("/billing/", {"amount": "1000"})["Location"])
    payment = Payment.objects.get()
    client.get(f"/billing/top-ups/{payment.public_id}/")
    assert "Refund $" not in client.get("/billing/").content.decode()
    client.post(f"/billing/top-ups/{payment.public_id}/refund/", {"once": str(uuid.uuid4())})
    assert not Refund.objects.exists()
