"""Credit that is given and credit that expires: codes, sign-up credit, and lots whose time is over."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from allauth.account.signals import email_confirmed
from django.db import connection as database
from django.test import RequestFactory

from accounts import rate_limits
from accounts.ledger import adjustments, expiry, operations
from accounts.models import Account
from accounts.payments import money
from accounts.payments.models import Payment
from accounts.promotions import codes, signup_credit
from accounts.promotions.models import Redemption, RedemptionCode, SignupCredit
from accounts.transactions import write_transaction
from tests.payments.conftest import Till, entries, wallet

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("audited", "holds_without_outputs")]
NOW = datetime.now(UTC)


@pytest.fixture(autouse=True)
def _unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codes, "_TRIES_PER_MINUTE", 1_000)


def code(**more: Any) -> RedemptionCode:
    return RedemptionCode.objects.create(**({"code": "WELCOME25", "amount_micros": 25_000_000, "mode": "live"} | more))


# --- codes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("typed", ["WELCOME25", "welcome-25", " Welcome 25 ", "w-e-l-c-o-m-e-2-5"])
def test_a_code_is_credit_however_it_is_typed(bob: Any, typed: str) -> None:
    code(credit_days=30)
    codes.redeem(bob.account, typed, now=NOW)
    lot = wallet(bob, "live").lots.get()
    assert entries(bob, "live") == [("grant", 25_000_000)]
    assert (lot.kind, lot.expires_at) == ("promotional", NOW + timedelta(days=30))


def test_a_code_is_redeemed_once_by_an_account(bob: Any, alice: Any) -> None:
    code()
    codes.redeem(bob.account, "WELCOME25", now=NOW)
    with pytest.raises(codes.RedemptionRefused, match="before"):
        codes.redeem(bob.account, "WELCOME25", now=NOW)
    codes.redeem(alice.account, "WELCOME25", now=NOW)
    assert RedemptionCode.objects.get().use_count == Redemption.objects.count() == 2
    assert wallet(bob, "live").available_micros == 25_000_000


@pytest.mark.parametrize(
    "fields",
    [
        {"is_active": False},
        {"valid_until": NOW - timedelta(seconds=1)},
        {"max_uses": 1, "use_count": 1},
        {"code": "ANOTHER"},
    ],
)
def test_a_code_that_is_over_used_up_or_unknown_brings_nothing(bob: Any, fields: dict[str, Any]) -> None:
    code(**fields)
    for typed in ("WELCOME25", "", "---", "é" * 50):
        with pytest.raises(codes.RedemptionRefused, match="no such code"):
            codes.redeem(bob.account, typed, now=NOW)
    assert entries(bob, "live") == []


def test_a_suspended_account_redeems_nothing(bob: Any) -> None:
    code()
    Account.objects.filter(pk=bob.account.pk).update(status="suspended")
    bob.account.refresh_from_db()
    with pytest.raises(codes.RedemptionRefused):
        codes.redeem(bob.account, "WELCOME25", now=NOW)


def test_who_guesses_is_slowed_down(bob: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codes, "_TRIES_PER_MINUTE", 5)
    rate_limits._own_limiter.cache_clear()
    refusals = []
    for number in range(7):
        with pytest.raises(codes.RedemptionRefused) as refused:
            codes.redeem(bob.account, f"GUESS{number}", now=NOW)
        refusals.append(str(refused.value))
    assert sum("many tries" in each for each in refusals) == 2


def test_the_last_use_goes_to_one_of_many(make_person: Callable[..., Any]) -> None:
    code(max_uses=1)
    people = [make_person(f"p{number}") for number in range(6)]
    won = []

    def redeem(person: Any) -> None:
        try:
            codes.redeem(person.account, "WELCOME25", now=NOW)
            won.append(person)
        except codes.RedemptionRefused:
            pass
        finally:
            database.close()

    threads = [threading.Thread(target=redeem, args=(each,)) for each in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1 and RedemptionCode.objects.get().use_count == 1
    assert sum(wallet(each, "live").available_micros for each in people) == 25_000_000


# --- expiry ----------------------------------------------------------------------------------------------------------


def grant(person: Any, micros: int, days: int | None) -> None:
    expires_at = NOW + timedelta(days=days) if days is not None else None
    adjustments.grant(
        account=person.account, mode="live", amount_micros=micros, actor="o", reason="r", now=NOW, expires_at=expires_at
    )


def test_what_expires_first_is_spent_first_and_the_rest_expires(bob: Any) -> None:
    grant(bob, 5_000_000, None)
    grant(bob, 3_000_000, 10)
    adjustments.adjust(account=bob.account, mode="live", amount_micros=-1_000_000, actor="o", reason="spent", now=NOW)
    assert expiry.expire_due(now=NOW + timedelta(days=9)) == 0
    assert expiry.expire_due(now=NOW + timedelta(days=11)) == 1
    assert expiry.expire_due(now=NOW + timedelta(days=11)) == 0
    assert entries(bob, "live")[-1] == ("expire", 2_000_000)
    assert wallet(bob, "live").available_micros == 5_000_000


def test_money_on_hold_stays_usable_and_expires_when_it_is_released(bob: Any) -> None:
    import uuid

    grant(bob, 3_000_000, 10)
    output = uuid.uuid4()
    with write_transaction():
        operations.hold(account_id=bob.account.pk, mode="live", amounts={output: 2_000_000}, api_key=None, now=NOW)
    later = NOW + timedelta(days=11)
    expiry.expire_due(now=later)
    assert (wallet(bob, "live").available_micros, wallet(bob, "live").held_micros) == (0, 2_000_000)
    with write_transaction():
        operations.capture(output_id=output, amount_micros=500_000, now=later)
    expiry.expire_due(now=later)
    assert [each for each in entries(bob, "live") if each[0] == "expire"] == [
        ("expire", 1_000_000),
        ("expire", 1_500_000),
    ]


# --- sign-up credit --------------------------------------------------------------------------------------------------


def confirm(person: Any, email: str = "", address: str = "203.0.113.7") -> SignupCredit | None:
    email = email or person.user.email
    row, _ = EmailAddress.objects.get_or_create(user=person.user, email=email, defaults={"primary": True})
    request = RequestFactory().get("/", REMOTE_ADDR=address)
    email_confirmed.send(EmailAddress, request=request, email_address=row)
    return SignupCredit.objects.filter(account=person.account).first()


@pytest.fixture
def generous(settings: Any) -> Any:
    settings.NBP_SIGNUP_CREDIT_MICROS = 2_000_000
    settings.NBP_SIGNUP_CREDIT_NEEDS_CARD = False
    return settings


def test_without_the_setting_nobody_gets_any(bob: Any) -> None:
    assert confirm(bob) is None and entries(bob, "live") == []


def test_a_verified_address_brings_it_once_and_one_image_at_a_time(bob: Any, generous: Any) -> None:
    for _ in range(3):
        confirm(bob)
    assert entries(bob, "live") == [("grant", 2_000_000)]
    bob.account.refresh_from_db()
    assert bob.account.running_cap == 1


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("ann@example.org", "ann+2@example.org"),
        ("ann@example.org", "ANN+x@Example.org"),
        ("a.nn@gmail.com", "an.n+1@googlemail.com"),
    ],
)
def test_h11_one_mailbox_gets_it_once(make_person: Callable[..., Any], generous: Any, first: str, second: str) -> None:
    one, two = make_person("one"), make_person("two")
    assert confirm(one, first).state == "granted"
    assert confirm(two, second, "198.51.100.1").state == "refused"
    assert entries(two, "live") == []


@pytest.mark.parametrize(
    "addresses",
    [
        ("203.0.113.1", "203.0.113.77", "203.0.113.200"),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", "2001:db8:1:2:3::"),
        ("::ffff:203.0.113.1", "203.0.113.2", "203.0.113.3"),
    ],
)
def test_h11_a_network_gets_it_so_often_a_day(
    make_person: Callable[..., Any], generous: Any, addresses: tuple[str, ...]
) -> None:
    states = [confirm(make_person(f"n{place}"), address=each).state for place, each in enumerate(addresses)]
    assert states == ["granted", "granted", "refused"]


def test_h11_a_mail_domain_gets_it_so_often_a_day(make_person: Callable[..., Any], generous: Any) -> None:
    generous.NBP_SIGNUP_CREDITS_PER_DOMAIN = 2
    states = [
        confirm(make_person(f"d{place}"), f"d{place}@throwaway.example", f"198.51.{place}.1").state
        for place in range(3)
    ]
    assert states == ["granted", "granted", "refused"]


def test_h11_with_a_card_it_waits_for_one_nobody_had(
    till: Till, make_person: Callable[..., Any], generous: Any
) -> None:
    generous.NBP_SIGNUP_CREDIT_NEEDS_CARD = True
    one, two = make_person("one"), make_person("two")
    assert confirm(one).state == "waiting" and confirm(two, address="198.51.100.1").state == "waiting"
    signup_credit.advance(now=till.now())
    assert entries(one, "live") == []
    till.bought(one, 500)
    signup_credit.advance(now=till.now())
    till.bought(two, 500)
    signup_credit.advance(now=till.now())
    # Into the wallet the card paid into.
    assert entries(one) == [("top_up", 5_000_000), ("grant", 2_000_000)] and entries(two) == [("top_up", 5_000_000)]
    assert SignupCredit.objects.get(account=two.account).state == "refused"


def test_the_first_top_up_lifts_the_cap(till: Till, bob: Any, generous: Any) -> None:
    confirm(bob)
    till.bought(bob, 500)
    signup_credit.advance(now=till.now())
    bob.account.refresh_from_db()
    assert bob.account.running_cap == 1, "play money is no payment"
    now = till.now()
    Payment.objects.create(
        wallet=wallet(bob, "live"),
        kind="checkout",
        livemode=True,
        amount_cents=500,
        credit_micros=5_000_000,
        stripe_customer_id="cus_live",
        stripe_payment_intent_id="pi_live",
        created_at=now,
        expires_at=now,
    )
    with write_transaction():
        money.credit(Payment.objects.get(livemode=True), now=now)
        Payment.objects.filter(livemode=True).update(state="succeeded")
    signup_credit.advance(now=now)
    bob.account.refresh_from_db()
    assert bob.account.running_cap is None
