"""A Stripe for the tests: the fake in this process, or on a loopback port over real HTTP."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import stripe

from accounts.ledger.models import Entry, Wallet
from accounts.payments import connection, following, inbox, rounds, top_ups
from accounts.payments.connection import Connection
from accounts.payments.fake_stripe import FakeStripe
from accounts.payments.fake_stripe.server import FakeStripeServer
from accounts.payments.models import Payment
from accounts.payments.stripe_gateway import StripeGateway, Verifier
from generation import audit

ORIGIN = "http://testserver"


class Clock:
    """The fake's time, which tests push on."""

    def __init__(self) -> None:
        self.ahead_seconds = 0.0

    def __call__(self) -> float:
        return self.now().timestamp()

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.ahead_seconds)


@dataclass
class Till:
    """Payments as a test drives them: start, pay, let time pass, and look at the wallet."""

    fake: FakeStripe
    clock: Clock
    skin: str
    events: list[tuple[bytes, dict[str, str]]] = field(default_factory=list)

    @property
    def gateway(self) -> StripeGateway:
        found = connection.current()
        assert found is not None
        return found.gateway

    def now(self) -> datetime:
        return self.clock.now()

    def start(self, person: Any, cents: int = 1_000, **more: Any) -> Payment:
        options = {"user": person.user, "origin": ORIGIN, "is_card_saved": False, "now": self.now()} | more
        return top_ups.start(account=person.account, amount_cents=cents, **options)

    def pay(self, payment: Payment, number: str = "4242424242424242") -> str:
        return self.fake.pay(payment.stripe_session_id or "", number)

    def bought(self, person: Any, cents: int = 1_000, number: str = "4242424242424242", **more: Any) -> Payment:
        """A top-up from its start to the credit."""
        payment = self.start(person, cents, **more)
        assert self.pay(payment, number) == ""
        found = following.follow(payment, now=self.now())
        assert found.state == "succeeded", (found.state, found.error)
        return found

    def send_events(self) -> int:
        """Have the fake send its events to the webhook; kept for replays."""

        def send(_: str, body: bytes, headers: dict[str, str]) -> int:
            self.events.append((body, headers))
            inbox.take(body, headers["Stripe-Signature"], now=self.now())
            return 200

        return self.fake.advance(send)

    def rounds(self, *, seconds: float = 0.0, times: int = 3) -> None:
        """Let time pass, then what a worker does."""
        self.clock.ahead_seconds += seconds
        for _ in range(times):
            self.send_events()
            rounds.advance(now=self.now())

    def signed(self, event: dict[str, Any], *, secret: str = "", at: float | None = None) -> tuple[bytes, str]:
        """A webhook's body and signature."""
        body = json.dumps(event)
        signature = stripe.WebhookSignature.generate_signature_header(
            body, secret or self.fake.webhook_secret, int(at if at is not None else time.time())
        )
        return body.encode(), signature


SKINS = ["in process", "over HTTP"]


@pytest.fixture(params=SKINS)
def till(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, transactional_db: None
) -> Iterator[Till]:
    """The till of a test, its audit at the end included."""
    clock = Clock()

    def make(pages: str) -> FakeStripe:
        return FakeStripe(tmp_path / "stripe.sqlite3", pages=pages, clock=clock)

    monkeypatch.setattr(stripe.HTTPClient, "INITIAL_DELAY", 0.01)
    with _connected(request.param, make) as (found, fake):
        monkeypatch.setattr(connection, "current", lambda: found)
        till = Till(fake, clock, request.param)
        yield till
        assert [str(each) for each in audit.violations()] == []


class _connected:  # noqa: N801 # reads like the context it is
    def __init__(self, skin: str, make: Callable[[str], FakeStripe]) -> None:
        self._skin, self._make = skin, make
        self._server: FakeStripeServer | None = None

    def __enter__(self) -> tuple[Connection, FakeStripe]:
        if self._skin == "in process":
            fake = self._make("/dev/stripe")
            found = connection.with_fake(fake)
            # Tests send its events themselves.
            return Connection(found.gateway, found.verifier), fake
        self._server = FakeStripeServer(self._make, delivers=False)
        self._server.__enter__()
        fake = self._server.fake
        gateway = StripeGateway(fake.secret_key, api_base=self._server.base_url)
        return Connection(gateway, Verifier([fake.webhook_secret])), fake

    def __exit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.__exit__()


def wallet(person: Any, mode: str = "test") -> Wallet:
    return Wallet.objects.get(account=person.account, mode=mode)


def entries(person: Any, mode: str = "test") -> list[tuple[str, int]]:
    """Kinds and amounts, oldest first."""
    rows = Entry.objects.filter(wallet=wallet(person, mode)).order_by("sequence")
    return list(rows.values_list("kind", "amount_micros"))


@pytest.fixture
def holds_without_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests of money alone hold it for outputs that do not exist."""
    kept = {name: check for name, check in audit.CHECKS.items() if check is not audit.holds_have_outputs}
    monkeypatch.setattr(audit, "CHECKS", kept)
