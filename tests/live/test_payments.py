"""The service and a Stripe in another process: its endpoint registered by command, its webhooks over HTTP."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from accounts.payments.fake_stripe import FakeStripe
from accounts.payments.fake_stripe.server import FakeStripeServer
from tests.live.conftest import ROOT, SIGTERM, Service

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
KEYS = {"SECRET_KEY": "x" * 60, "NBP_KEY_PEPPER": "p", "NBP_LINK_KEY": "l", "NBP_FIELD_KEYS": f"k1:{'0' * 64}"}
PRODUCTION = KEYS | {"NBP_ENV": "production", "EMAIL_URL": "consolemail://", "ALLOWED_HOSTS": "example.org"}


@pytest.fixture
def stripe(tmp_path: Path) -> Iterator[FakeStripeServer]:
    """A fake Stripe that sends its events by itself."""
    with FakeStripeServer(lambda base_url: FakeStripe(tmp_path / "stripe.sqlite3", pages=base_url)) as server:
        yield server


def _browser(service: Service) -> httpx2.Client:
    """Somebody who is signed in."""
    client = httpx2.Client(base_url=service.base_url, trust_env=False, timeout=30, follow_redirects=False)
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', client.get("/accounts/login/").text)
    assert token is not None
    note = service.note
    form = {"login": note["email"], "password": note["password"], "csrfmiddlewaretoken": token[1]}
    assert client.post("/accounts/login/", data=form).status_code == 302
    return client


def _token(client: httpx2.Client) -> dict[str, str]:
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', client.get("/billing/").text)
    assert token is not None
    return {"csrfmiddlewaretoken": token[1]}


def _until(what: Callable[[], Any], seconds: float = 30) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = what()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError("it did not come to that")


def test_a_payment_is_credited_by_the_webhook_alone(
    service: Callable[..., Service], stripe: FakeStripeServer, tmp_path: Path
) -> None:
    environment = {"STRIPE_SECRET_KEY": stripe.fake.secret_key, "NBP_STRIPE_API_BASE": stripe.base_url}
    running = Service(tmp_path / "later", environment | {"STRIPE_WEBHOOK_SECRET": "whsec_later"})
    running.folder.mkdir()
    done = running.manage("register_stripe_webhook", running.base_url, "--json")
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert made["url"] == f"{running.base_url}/webhooks/stripe" and made["secret"].startswith("whsec_")
    assert running.manage("register_stripe_webhook", running.base_url).returncode == 1
    again = json.loads(running.manage("register_stripe_webhook", running.base_url, "--again", "--json").stdout)
    assert again["older"] == [made["id"]] and again["secret"] != made["secret"]

    # In the midst of a rotation: each event comes from both endpoints.
    running.environment["STRIPE_WEBHOOK_SECRET"] = f"{again['secret']},{made['secret']}"
    running.start()
    try:
        with contextlib.closing(_browser(running)) as client:
            page = client.post("/billing/", data={"amount": "2500"} | _token(client))
        assert page.status_code == 302 and page.headers["location"].startswith(f"{stripe.base_url}/c/pay/")
        assert stripe.base_url in page.headers["content-security-policy"]
        # Paid, and the browser closed: nobody comes back to the return page.
        stripe.fake.pay(page.headers["location"].rpartition("/")[2])
        _until(lambda: running.ask("GET", "wallet").json()["available_micros"] == 125_000_000)
        entry = running.ask("GET", "ledger").json()["data"][0]
        assert entry["kind"] == "top_up" and entry["payment"].startswith("pay_") and entry["receipt_url"]
        reconciled = running.manage("reconcile_payments", "--json")
        assert json.loads(reconciled.stdout)["ok"] is True, reconciled.stdout + reconciled.stderr
        running.audit()
    finally:
        running.signal(SIGTERM)


def test_the_fake_as_a_command(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("NBP_", "STRIPE_"))}
    environment |= {"NBP_ENV": "development", "NBP_DATA_DIR": str(tmp_path)}
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "manage.py"), "fake_stripe", "--port", "0"],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        base_url = re.search(r"http://127\.0\.0\.1:\d+", said)
        assert base_url is not None, said
        request = urllib.request.Request(
            f"{base_url[0]}/v1/customers",
            data=urllib.parse.urlencode({"email": "a@example.org"}).encode(),
            headers={"Authorization": "Bearer sk_test_fake"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert json.load(answer)["id"].startswith("cus_")
    finally:
        process.terminate()
        assert process.wait(timeout=30) == 0
        if process.stdout is not None:
            process.stdout.close()


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"STRIPE_SECRET_KEY": "sk_live_1"}, "STRIPE_WEBHOOK_SECRET"),
        ({"STRIPE_SECRET_KEY": "pk_live_1", "STRIPE_WEBHOOK_SECRET": "whsec_1"}, "must begin with"),
        ({"NBP_STRIPE_API_BASE": "http://127.0.0.1:1"}, "for development"),
        ({"STRIPE_SECRET_KEY": "sk_live_1", "STRIPE_WEBHOOK_SECRET": "whsec_1", "DEBUG": "true"}, "DEBUG"),
    ],
)
def test_production_does_not_start_with_keys_that_do_not_fit(
    tmp_path: Path, environment: dict[str, str], words: str
) -> None:
    service = Service(tmp_path, PRODUCTION | environment)
    done = service.manage("check", "--deploy")
    assert done.returncode != 0 and words in done.stderr


def test_production_without_keys_has_no_payments_and_no_fake(tmp_path: Path) -> None:
    service = Service(tmp_path, PRODUCTION)
    asked = (
        "import django; django.setup(); from accounts.payments import connection; print(connection.current());"
        "from accounts.payments.fake_stripe import FakeStripe; from pathlib import Path; FakeStripe(Path('x'), pages='')"
    )
    done = subprocess.run(
        [sys.executable, "-c", asked],
        env=service.environment | {"DJANGO_SETTINGS_MODULE": "nbp_site.settings"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.strip() == "None" and "development only" in done.stderr
    listed = service.manage("fake_stripe", "--port", "0")
    assert listed.returncode != 0
