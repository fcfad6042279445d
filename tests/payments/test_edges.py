"""Where kinds of credit, currencies, people and papers meet: small things that cost somebody money."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.core import mail
from django.test import Client

from accounts.ledger import adjustments, expiry, operations
from accounts.ledger.models import Lot, Wallet
from accounts.notices import outbox
from accounts.payments import disputes, inbox, reconciliation, refunds, rounds, terms, top_ups
from accounts.payments.facts import StripeRefused
from accounts.payments.models import BonusStep, Customer, Drift, Payment, Refund, StripeEvent
from accounts.payments.stripe_gateway import StripeGateway
from accounts.promotions import signup_credit
from accounts.promotions.models import SignupCredit
from accounts.transactions import write_transaction
from tests.payments.conftest import Till, entries, wallet
from tests.payments.test_refunds import ask, spend
from tests.payments.test_webhooks import EVENT

pytestmark = pytest.mark.usefixtures("holds_without_outputs")


def give(till: Till, person: Any, micros: int, expires_at: datetime | None = None) -> None:
    adjustments.grant(
        account=person.account,
        mode="test",
        amount_micros=micros,
        actor="o",
        reason="r",
        now=till.now(),
        expires_at=expires_at,
    )


def hold(till: Till, person: Any, micros: int) -> uuid.UUID:
    output = uuid.uuid4()
    with write_transaction():
        operations.hold(
            account_id=person.account.pk, mode="test", amounts={output: micros}, api_key=None, now=till.now()
        )
    return output


def refundable(payment: Payment) -> int:
    return refunds.refundable(Payment.objects.get(pk=payment.pk)).cents


# --- what is given stays given, what is bought stays bought ----------------------------------------------------------


def test_a_bonus_that_comes_back_expires_as_it_would_have(till: Till, bob: Any) -> None:
    BonusStep.objects.create(minimum_cents=10_000, percent=16, credit_days=30)
    refund = ask(till, till.bought(bob, 10_000))
    before = Lot.objects.filter(kind="promotional").get().expires_at
    till.fake.fail_refund(refund.stripe_refund_id or "")
    till.rounds()
    assert Lot.objects.get(kind="promotional", remaining_micros__gt=0).expires_at == before


def test_a_bonus_that_expired_was_not_spent(till: Till, bob: Any) -> None:
    BonusStep.objects.create(minimum_cents=10_000, percent=20, credit_days=30)
    payment = till.bought(bob, 10_000)
    expiry.expire_due(now=till.now() + timedelta(days=31))
    assert refundable(payment) == 10_000


@pytest.mark.parametrize("how", ["dispute", "refund"])
def test_what_was_given_does_not_become_cash_on_its_way_out_and_back(till: Till, bob: Any, how: str) -> None:
    payment = till.bought(bob, 1_000)
    spend(bob, 10_000_000)
    expires_at = till.now() + timedelta(days=9)
    give(till, bob, 10_000_000, expires_at)
    if how == "dispute":
        dispute = till.fake.open_dispute(payment.stripe_charge_id or "")
        till.rounds()
        till.fake.close_dispute(dispute, is_won=True)
    else:
        refund = till.fake.refund_in_dashboard(payment.stripe_payment_intent_id or "", 1_000)
        till.rounds()
        till.fake.fail_refund(refund["id"])
    assert wallet(bob).available_micros == 0
    till.rounds()
    assert wallet(bob).available_micros == 10_000_000 and refundable(payment) == 0
    assert Lot.objects.get(remaining_micros__gt=0).expires_at == expires_at


def test_what_is_held_of_expiring_credit_does_not_cost_what_was_bought(till: Till, bob: Any) -> None:
    till.bought(bob, 1_000)
    give(till, bob, 10_000_000, till.now() + timedelta(hours=1))
    output = hold(till, bob, 5_000_000)
    expiry.expire_due(now=till.now() + timedelta(hours=2))
    with write_transaction():
        operations.capture(output_id=output, amount_micros=5_000_000, now=till.now())
    assert wallet(bob).available_micros == 10_000_000


def test_who_owes_is_not_sent_money(till: Till, bob: Any) -> None:
    one = till.bought(bob, 6_000)
    spend(bob, 60_000_000)
    two = till.bought(bob, 6_000)
    output = hold(till, bob, 60_000_000)
    till.fake.open_dispute(one.stripe_charge_id or "")
    till.rounds()
    with write_transaction():
        operations.release(output_id=output, now=till.now())
    row = wallet(bob)
    assert (row.available_micros, row.debt_micros, row.status) == (60_000_000, 60_000_000, "frozen")
    assert refundable(two) == 0


def test_a_free_request_is_taken_above_a_limit(till: Till, bob: Any) -> None:
    till.bought(bob, 1_000)
    adjustments.set_spending_limit(account=bob.account, mode="test", limit_micros=8_000_000, now=till.now())
    hold(till, bob, 6_000_000)
    adjustments.set_spending_limit(account=bob.account, mode="test", limit_micros=5_000_000, now=till.now())
    with write_transaction():
        operations.hold(account_id=bob.account.pk, mode="test", amounts={}, api_key=None, now=till.now())


# --- disputes --------------------------------------------------------------------------------------------------------


def test_a_dispute_settled_in_another_currency_leaves_no_rest_when_the_rate_moves(till: Till, bob: Any) -> None:
    payment = till.bought(bob, 10_000)
    dispute = till.fake.open_dispute(payment.stripe_charge_id or "", is_inquiry=True)

    def moved(cents: int) -> dict[str, Any]:
        with till.fake.store.book(till.clock()) as book:
            return book.make("txn", "balance_transaction", amount=cents, currency="eur", type="adjustment", net=cents)

    out = moved(-9_200)
    till.fake.change(dispute, status="needs_response", balance_transactions=[out])
    disputes.converge(payment, now=till.now())
    assert wallet(bob).available_micros == 0
    till.fake.change(dispute, status="won", balance_transactions=[out, moved(9_000)])
    disputes.converge(payment, now=till.now())
    assert wallet(bob).available_micros == 100_000_000


def test_a_wallet_the_operator_froze_stays_frozen(till: Till, bob: Any) -> None:
    payment = till.bought(bob, 1_000)
    Wallet.objects.filter(pk=wallet(bob).pk).update(status="frozen")
    dispute = till.fake.open_dispute(payment.stripe_charge_id or "")
    till.rounds()
    till.fake.close_dispute(dispute, is_won=True)
    till.rounds()
    assert wallet(bob).status == "frozen"


def test_a_question_of_the_bank_does_not_bar_a_refund(till: Till, bob: Any) -> None:
    payment = till.bought(bob, 1_000)
    till.fake.open_dispute(payment.stripe_charge_id or "", is_inquiry=True)
    till.rounds()
    assert refundable(payment) == 1_000


# --- reconciliation --------------------------------------------------------------------------------------------------


def blocked(till: Till, person: Any) -> Payment:
    payment = till.start(person)
    till.pay(payment)
    till.fake.change(till.fake.objects("checkout.session")[0]["id"], currency="eur")
    reconciliation.reconcile(now=till.now())
    payment.refresh_from_db()
    assert payment.state == "blocked" and Drift.objects.filter(closed_at=None).count() == 1
    return payment


@pytest.mark.parametrize(("later", "days"), [(3, 1), (36, 35)])
def test_drift_is_not_closed_by_a_look_that_does_not_reach_it(till: Till, bob: Any, later: int, days: int) -> None:
    blocked(till, bob)
    till.clock.ahead_seconds += later * 86_400
    assert not reconciliation.reconcile(now=till.now(), days=days).is_clean
    assert Drift.objects.filter(closed_at=None).count() == 1


def test_a_blocked_payment_that_was_sent_back_is_no_drift(till: Till, bob: Any) -> None:
    payment = blocked(till, bob)
    till.fake.refund_in_dashboard(payment.stripe_payment_intent_id or "", 1_000)
    assert reconciliation.reconcile(now=till.now()).is_clean
    assert not Drift.objects.filter(closed_at=None).exists()


def test_a_backup_from_between_the_row_and_stripes_answer_is_healed(till: Till, bob: Any) -> None:
    payment = till.start(bob)
    till.pay(payment)
    lost = {"stripe_session_id": None, "checkout_url": "", "stripe_payment_intent_id": None}
    Payment.objects.filter(pk=payment.pk).update(state="created", **lost)
    till.clock.ahead_seconds += 2 * 86_400
    assert reconciliation.reconcile(now=till.now()).is_clean
    payment.refresh_from_db()
    assert payment.state == "succeeded" and entries(bob) == [("top_up", 10_000_000)]


# --- people ----------------------------------------------------------------------------------------------------------


def test_one_who_pays_without_a_card_keeps_nobody_waiting(
    till: Till, make_person: Callable[..., Any], settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.NBP_SIGNUP_CREDIT_MICROS = 1_000_000
    monkeypatch.setattr(signup_credit, "_AT_ONCE", 2)
    people = [make_person(f"p{number}") for number in range(4)]
    for number, person in enumerate(people):
        signup_credit.consider(
            person.account, email=f"p{number}@d{number}.example", address=f"10.{number}.0.1", now=till.now()
        )
        till.bought(person, 500, "4242424242424242" if number == 3 else "alipay")
    signup_credit.advance(now=till.now())
    states = list(SignupCredit.objects.order_by("pk").values_list("state", flat=True))
    assert states == ["waiting", "waiting", "waiting", "granted"]


def test_play_money_brings_no_live_credit_and_a_refund_takes_it_back(till: Till, bob: Any, settings: Any) -> None:
    settings.NBP_SIGNUP_CREDIT_MICROS = 3_000_000
    signup_credit.consider(bob.account, email="bob@example.com", address="10.1.1.1", now=till.now())
    payment = till.bought(bob, 500)
    signup_credit.advance(now=till.now())
    assert wallet(bob, "live").available_micros == 0 and wallet(bob).available_micros == 8_000_000
    ask(till, payment, 300)
    signup_credit.advance(now=till.now())
    assert wallet(bob).available_micros == 5_000_000
    ask(till, payment)
    signup_credit.advance(now=till.now())
    assert wallet(bob).available_micros == 0 and entries(bob)[-1] == ("revoke", 3_000_000)


def test_a_refund_that_failed_is_not_told_as_a_success(till: Till, bob: Any, settings: Any, client: Client) -> None:
    settings.NBP_SELF_REFUND_DAYS = 14
    payment = till.bought(bob, 1_000)
    charge = till.fake.objects("charge")[0]["id"]
    till.fake.change(charge, amount_refunded=1_000, _number="4242424242424242")
    client.force_login(bob.user, backend="django.contrib.auth.backends.ModelBackend")
    path = f"/billing/top-ups/{payment.public_id}/refund/"
    answer = client.post(path, {"once": str(uuid.uuid4())}, follow=True).content.decode()
    assert Refund.objects.get().state == "failed"
    assert "could not be sent back" in answer and "$10.00 go back" not in answer


def test_an_address_beyond_ascii_can_pay(till: Till, bob: Any) -> None:
    bob.user.email = "bob@例え.jp"
    bob.user.save()
    till.bought(bob, 1_000)


def test_only_a_missing_customer_is_forgotten(till: Till, bob: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    till.bought(bob, 1_000)

    def refuse(param: str) -> None:
        def refused(*_: Any, **__: Any) -> Any:
            raise StripeRefused("No such thing", "resource_missing", param)

        monkeypatch.setattr(StripeGateway, "open_checkout", refused)
        with pytest.raises(top_ups.TopUpUnavailable):
            till.start(bob)

    refuse("line_items[0][price_data][product_data][tax_code]")
    assert Customer.objects.count() == 1
    refuse("customer")
    assert Customer.objects.count() == 0


def test_h12_declined_cards_count_and_faults_of_ours_do_not(till: Till, bob: Any, settings: Any) -> None:
    settings.NBP_TOP_UP_FAILURES_PER_DAY = 3
    till.fake.fail_next("POST", "/v1/checkout/sessions", "drop", times=9)
    for _ in range(3):
        with pytest.raises(top_ups.TopUpUnavailable):
            till.start(bob)
    for _ in range(3):
        payment = till.start(bob)
        till.pay(payment, "4000000000000002")
        till.rounds()
    with pytest.raises(terms.TopUpRefused):
        till.start(bob)


@pytest.mark.parametrize(
    "change",
    [
        {"created": 10**18},
        {"created": "soon"},
        {"livemode": "abc"},
        {"livemode": None},
        {"id": "evt_\ud800"},
        {"id": "evt_" + "x" * 300},
        {"type": None},
        {"type": 7},
    ],
)
def test_f5_a_signed_event_with_parts_that_are_none_is_400(till: Till, change: dict[str, Any]) -> None:
    body = json.dumps(EVENT | change).encode()
    at = int(time.time())
    mac = hmac.new(till.fake.webhook_secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    headers = {"stripe-signature": f"t={at},v1={mac}"}
    answer = Client().post("/webhooks/stripe", body, content_type="application/json", headers=headers)
    assert answer.status_code == 400 and not StripeEvent.objects.exists()


def test_a_line_break_in_a_keys_name_stops_no_mail(till: Till, bob: Any) -> None:
    outbox.tell(bob.account, key="x", subject="80 % of the budget of key my\nkey is used", body="", now=till.now())
    outbox.tell(bob.account, key="y", subject="fine", body="", now=till.now())
    rounds.advance(now=till.now())
    assert sorted(each.subject for each in mail.outbox) == ["80 % of the budget of key my key is used", "fine"]


def test_lists_are_read_page_by_page_with_what_was_asked_to_unfold(till: Till, bob: Any) -> None:
    for _ in range(4):
        till.bought(bob, 500)
    listed = till.gateway._client.v1.payment_intents.list({"limit": 1, "expand": ["data.latest_charge"]})
    assert len([each.latest_charge.receipt_url for each in listed.auto_paging_iter()]) == 4


def test_a_member_who_is_no_owner_decides_nothing_about_money(till: Till, bob: Any, settings: Any) -> None:
    from accounts.models import Membership

    settings.NBP_SELF_REFUND_DAYS = 14
    payment = till.bought(bob, 1_000)
    Membership.objects.filter(user=bob.user).update(role="member")
    client = Client()
    client.force_login(bob.user, backend="django.contrib.auth.backends.ModelBackend")
    for path, data in (
        ("auto-recharge/", {"threshold": "5", "amount": "10", "ceiling": "10"}),
        ("limits/", {"mode": "test", "monthly_limit": "1"}),
        ("portal/", {}),
        (f"top-ups/{payment.public_id}/refund/", {"once": str(uuid.uuid4())}),
    ):
        answer = client.post(f"/billing/{path}", data, follow=True)
        assert "Only an owner of this account can do that." in answer.content.decode(), path
    assert not Refund.objects.exists() and wallet(bob).monthly_limit_micros is None
    assert client.post("/billing/", {"amount": "1000"}).status_code == 302


def test_bodies_of_events_are_emptied_after_their_days_and_known_ones_stay_known(till: Till, bob: Any) -> None:
    till.bought(bob, 1_000)
    till.rounds()
    count = StripeEvent.objects.count()
    assert inbox.forget(now=till.now() + timedelta(days=89)) == 0
    assert inbox.forget(now=till.now() + timedelta(days=91)) == count
    assert set(StripeEvent.objects.values_list("payload", flat=True)) == {""}
    for body, headers in till.events:
        assert not inbox.take(body, headers["Stripe-Signature"], now=till.now())


@pytest.mark.parametrize(
    "typed", ["0", "0.00", "4.99", "$4", "-10", "1e3", "10,50", "1,000", "ten", "10.001", "9" * 20]
)
def test_an_amount_that_was_typed_is_never_taken_for_another(till: Till, bob: Any, typed: str) -> None:
    client = Client()
    client.force_login(bob.user, backend="django.contrib.auth.backends.ModelBackend")
    answer = client.post("/billing/", {"amount": "1000", "other": typed})
    assert answer.status_code == 422 and not Payment.objects.exists()
    assert client.post("/billing/", {"amount": "1000", "other": " $12.50 "}).status_code == 302
    assert Payment.objects.get().amount_cents == 1_250


def test_a_code_is_switched_off_in_the_admin(till: Till, bob: Any) -> None:
    from accounts.models import User
    from accounts.promotions.models import RedemptionCode

    operator = User.objects.create_superuser("op@example.com", "correct horse battery")
    client = Client()
    client.force_login(operator, backend="django.contrib.auth.backends.ModelBackend")
    fields = {"code": "SPRING-26", "mode": "test", "amount_micros": "5", "max_uses": "", "note": "", "is_active": "on"}
    made = client.post("/admin/promotions/redemptioncode/add/", fields | {"valid_until_0": "", "valid_until_1": ""})
    assert made.status_code == 302
    row = RedemptionCode.objects.get()
    assert (row.code, row.amount_micros, row.created_by) == ("SPRING26", 5_000_000, operator)
    path = f"/admin/promotions/redemptioncode/{row.pk}/change/"
    bad = client.post(path, {"max_uses": "0", "credit_days": "0", "valid_until_0": "", "valid_until_1": ""})
    assert bad.status_code == 200 and bad.content.decode().count("greater than or equal to 1") == 2
    assert client.post(path, {"note": "leaked", "valid_until_0": "", "valid_until_1": ""}).status_code == 302
    row.refresh_from_db()
    assert (row.is_active, row.note, row.amount_micros) == (False, "leaked", 5_000_000)


def test_a_dispute_is_told_by_mail_once_and_stands_at_its_payment(till: Till, bob: Any) -> None:
    payment = till.bought(bob, 1_000)
    till.fake.open_dispute(payment.stripe_charge_id or "")
    till.rounds()
    till.rounds()
    assert [each.subject for each in mail.outbox] == ["A payment of yours was disputed"]
    client = Client()
    client.force_login(bob.user, backend="django.contrib.auth.backends.ModelBackend")
    assert "Disputed at the bank" in client.get("/billing/").content.decode()
