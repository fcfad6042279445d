"""What a worker's thread does about money: payments every time, the rest every so often, the night's comparison once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core import mail

from accounts.ledger import adjustments
from accounts.ledger.models import Wallet
from accounts.payments import nightly
from accounts.payments.models import ReconciliationRun
from nbp_site.money_rounds import MoneyRounds
from tests.payments.conftest import Till, entries, wallet


def test_a_step_credits_and_now_and_then_expires_and_watches(till: Till, bob: Any) -> None:
    ticks = [0.0]
    rounds = MoneyRounds(clock=lambda: ticks[0])
    rounds.step()
    now = datetime.now(UTC)
    adjustments.grant(
        account=bob.account,
        mode="live",
        amount_micros=1_000_000,
        actor="o",
        reason="r",
        now=now - timedelta(days=2),
        expires_at=now - timedelta(days=1),
    )
    Wallet.objects.filter(account=bob.account, mode="test").update(low_balance_micros=50_000_000)
    till.pay(till.start(bob))
    till.send_events()
    rounds.step()
    assert entries(bob) == [("top_up", 10_000_000)]
    assert wallet(bob, "live").available_micros == 1_000_000 and mail.outbox == []
    ticks[0] = 21.0
    rounds.step()
    assert wallet(bob, "live").available_micros == 0
    rounds.step()
    assert [each.subject for each in mail.outbox] == ["Your balance is low"]


def test_the_nights_comparison_is_made_once_and_again_after_a_failure(till: Till, bob: Any) -> None:
    till.bought(bob, 1_000)
    tonight = datetime.now(UTC).replace(hour=3, minute=1) + timedelta(days=1)
    assert nightly.run_if_due(now=tonight - timedelta(hours=1)) is None
    till.fake.fail_next("GET", "/v1/events", "500", times=3)
    first = nightly.run_if_due(now=tonight)
    assert first is not None and first.error and first.finished_at is None
    assert nightly.run_if_due(now=tonight + timedelta(minutes=30)) is None
    second = nightly.run_if_due(now=tonight + timedelta(minutes=61))
    assert second is not None and second.error == "" and second.payments_checked == 1
    assert nightly.run_if_due(now=tonight + timedelta(hours=5)) is None
    nightly.run_by_hand(now=tonight + timedelta(hours=6), days=1)
    assert ReconciliationRun.objects.count() == 1


@pytest.mark.parametrize("path", ["/billing/", "/wallet/", "/billing/top-ups/pay_1/"])
def test_strangers_are_sent_to_the_login(client: Any, db: None, path: str) -> None:
    assert client.get(path)["Location"].startswith("/accounts/login/")
