"""Auto-recharge: one payment at a time, within its ceiling, and it stops when the card does not work."""

from __future__ import annotations

from typing import Any

import pytest
from django.core import mail
from django.db import IntegrityError, transaction

from accounts.payments import auto_recharge, terms
from accounts.payments.models import AutoRecharge, Payment
from tests.payments.conftest import Till, entries, wallet
from tests.payments.test_refunds import spend


def ready(till: Till, person: Any, number: str = "4242424242424242", **more: Any) -> AutoRecharge:
    """Bob bought $10 with a card that is kept, and spends all but $1."""
    till.bought(person, 1_000, number, is_card_saved=True)
    options = {"threshold_micros": 5_000_000, "amount_cents": 2_000, "monthly_ceiling_cents": 10_000} | more
    row = auto_recharge.set_up(wallet(person), is_enabled=True, now=till.now(), **options)
    spend(person, 9_000_000)
    return row


def autos() -> list[str]:
    return list(Payment.objects.filter(kind="auto").order_by("created_at").values_list("state", flat=True))


def test_a_low_wallet_is_filled_once(till: Till, bob: Any) -> None:
    ready(till, bob)
    till.rounds()
    assert autos() == ["succeeded"]
    assert wallet(bob).available_micros == 21_000_000
    till.rounds(seconds=120)
    assert autos() == ["succeeded"]


def test_it_needs_a_card_that_is_kept(till: Till, bob: Any) -> None:
    till.bought(bob, 1_000)
    with pytest.raises(terms.TopUpRefused, match="card"):
        auto_recharge.set_up(
            wallet(bob),
            is_enabled=True,
            threshold_micros=1,
            amount_cents=1_000,
            monthly_ceiling_cents=1_000,
            now=till.now(),
        )


def test_a_wallet_that_is_not_low_is_left_alone(till: Till, bob: Any) -> None:
    ready(till, bob, threshold_micros=500_000)
    till.rounds()
    assert autos() == []


def test_f11_two_declines_end_it_and_its_owner_is_told(till: Till, bob: Any) -> None:
    ready(till, bob, "4000000000000341")
    till.rounds()
    assert autos() == ["failed"]
    till.rounds(seconds=60)
    assert autos() == ["failed"], "it waits an hour before the second try"
    till.rounds(seconds=3_700)
    till.rounds(seconds=3_700)
    row = AutoRecharge.objects.get()
    assert autos() == ["failed", "failed"] and not row.is_enabled and row.stopped_because
    assert [each.subject for each in mail.outbox] == ["Automatic recharge has stopped"]
    assert entries(bob)[0] == ("top_up", 10_000_000) and wallet(bob).available_micros == 1_000_000
    assert {each["status"] for each in till.fake.objects("payment_intent")} == {"succeeded", "canceled"}


def test_a_bank_that_wants_its_customer_ends_it_with_a_link(till: Till, bob: Any, settings: Any) -> None:
    settings.NBP_BASE_URL = "https://images.example"
    ready(till, bob, "4000002500003155")
    till.rounds()
    assert not AutoRecharge.objects.get().is_enabled
    (sent,) = mail.outbox
    assert "https://images.example/billing/?amount=20.00" in sent.body and sent.to == [bob.user.email]


def test_f11_a_threshold_above_the_amount_ends_at_the_ceiling(till: Till, bob: Any) -> None:
    ready(till, bob, threshold_micros=45_000_000, monthly_ceiling_cents=5_000)
    for _ in range(5):
        till.rounds(seconds=61)
    assert autos() == ["succeeded", "succeeded"]
    assert [each.subject for each in mail.outbox] == ["Automatic recharge paused"]


@pytest.mark.parametrize("kind", ["drop_after", "500_after", "drop", "500", "429"])
def test_f7_no_answer_is_one_charge(till: Till, bob: Any, kind: str) -> None:
    ready(till, bob)
    till.fake.fail_next("POST", "/v1/payment_intents", kind)
    till.fake.fail_next("POST", "/v1/payment_intents", "drop", times=2)
    till.fake.disorder.is_mute = True
    till.rounds(times=1)
    assert autos() == ["created"]
    till.rounds(seconds=31)
    assert autos() == ["succeeded"]
    assert sum(each["amount"] for each in till.fake.objects("payment_intent")) == 3_000
    assert wallet(bob).available_micros == 21_000_000


def test_f7_after_stripe_forgot_our_key_the_charge_is_looked_for(till: Till, bob: Any) -> None:
    ready(till, bob)
    till.fake.fail_next("POST", "/v1/payment_intents", "drop_after")
    till.fake.fail_next("POST", "/v1/payment_intents", "drop", times=2)
    till.fake.disorder.is_mute = True
    till.rounds(times=1)
    till.rounds(seconds=3 * 86_400)
    assert "succeeded" in autos()
    assert sum(each["amount"] for each in till.fake.objects("payment_intent")) == 3_000


def test_the_database_allows_one_at_a_time(till: Till, bob: Any) -> None:
    ready(till, bob)
    fields = {
        "wallet": wallet(bob),
        "kind": "auto",
        "livemode": False,
        "amount_cents": 500,
        "credit_micros": 5_000_000,
        "origin": "",
        "stripe_customer_id": "cus_1",
        "created_at": till.now(),
        "expires_at": till.now(),
    }
    Payment.objects.create(**fields)
    with pytest.raises(IntegrityError), transaction.atomic():
        Payment.objects.create(**fields)


def test_two_workers_charge_once(till: Till, bob: Any) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from django.db import connection as database

    ready(till, bob)

    def work(_: int) -> None:
        try:
            auto_recharge.run_due(now=till.now())
        finally:
            database.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert autos() == ["succeeded"]
