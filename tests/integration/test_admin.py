"""The operator's admin: every page opens, what must not change cannot, money moves with a name, secrets stay inside."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.core.management import call_command
from django.test import Client
from django.urls import reverse

from accounts import keys
from accounts.ledger import adjustments
from accounts.ledger.models import BudgetPeriod, Entry, Hold, Lot, LotUse, SpendingPeriod, Wallet
from accounts.models import Account, ApiKey, Invitation, Membership, User
from accounts.notices import outbox
from accounts.notices.models import Notice
from accounts.payments import money
from accounts.payments.models import (
    AutoRecharge,
    BonusStep,
    Customer,
    Dispute,
    Drift,
    Payment,
    ReconciliationRun,
    Refund,
    StripeEvent,
)
from accounts.promotions import codes
from accounts.promotions.models import Redemption, RedemptionCode, SignupCredit
from accounts.transactions import write_transaction
from generation import submission
from generation.channels.fakes.gemini import FakeGemini
from generation.channels.models import Channel
from generation.contract import GenerationRequest, Refusal
from generation.egress import loop
from generation.models import Attempt, Charge, Cost, Generation, ImageModel, Job, ModelAlias, Output, Price

pytestmark = pytest.mark.django_db(transaction=True)

READ_ONLY = (
    *(Wallet, Entry, Hold, Lot, LotUse, BudgetPeriod, SpendingPeriod, Generation, Charge, Job),
    *(Payment, Refund, Dispute, Customer, StripeEvent, Drift, ReconciliationRun, AutoRecharge),
    *(Redemption, SignupCredit, Notice),
)
OURS = (
    *(*READ_ONLY, Account, User, Membership, Invitation, ApiKey, Channel, ImageModel, ModelAlias, Price, Cost),
    *(BonusStep, RedemptionCode),
)
# What is only shown can still be acted upon: money moves by these, rows are not written.
DEEDS = {Wallet: ("freeze", "thaw"), Payment: ("ask_again",), StripeEvent: ("replay",)}
SECRET = "AIza-a-secret-that-nobody-may-read-again"
INLINE = re.compile(r"<style|<script(?![^>]*\bsrc=)|\sstyle=[\"']|\son[a-z]+=[\"']|javascript:", re.IGNORECASE)


@dataclass
class Desk:
    """The operator's browser, an account and a live channel."""

    client: Client
    alice: Any
    channel: Channel

    def get(self, page: str, /, *args: Any, **query: str) -> str:
        response = self.client.get(reverse(f"admin:{page}", args=args), query)
        assert response.status_code == 200, (page, args, response.status_code)
        return response.content.decode()

    def post(self, page: str, /, *args: Any, expected: int = 302, **data: Any) -> str:
        """Send a form and follow to the page it leads to."""
        response = self.client.post(reverse(f"admin:{page}", args=args), data)
        assert response.status_code == expected, (page, response.status_code, _complaints(response))
        if expected != 302:
            return response.content.decode()
        return self.client.get(response.url).content.decode()

    def act(self, model: str, action: str, *rows: Any) -> str:
        return self.post(
            f"{model}_changelist", action=action, _selected_action=[str(row.pk) for row in rows], index="0"
        )


@dataclass
class World(Desk):
    """The same, with rows of every kind to look at: two images, and a refusal after a 429."""

    good: Generation
    refused: Generation

    @property
    def output(self) -> Output:
        return self.good.outputs.order_by("index").first()


def _complaints(response: Any) -> str:
    return " ".join(re.findall(r'class="error(?:list|note)[^>]*>.*?</', response.content.decode(), re.DOTALL))[:500]


@pytest.fixture(autouse=True, scope="module")
def _loop_ends() -> Iterator[None]:
    yield
    loop.stop()


@pytest.fixture
def operator() -> User:
    return User.objects.create_superuser("operator@example.com", "correct horse battery")


@pytest.fixture
def desk(operator: User, alice: Any) -> Desk:
    channel = Channel(name="Vertex of ours", kind="gemini", mode="live")
    channel.last_error, channel.last_error_at = "busy: slow down", datetime.now(UTC)
    channel.set_secret(SECRET)
    channel.save()
    client = Client()
    client.force_login(operator)
    return Desk(client, alice, channel)


@pytest.fixture
def world(desk: Desk, operator: User, queue: Any) -> World:
    now = datetime.now(UTC)
    budgeted = desk.alice.keys["test"].api_key
    ApiKey.objects.filter(pk=budgeted.pk).update(budget_micros=5_000_000)
    budgeted.refresh_from_db()
    ask = desk.alice.requester("test")
    good = submission.accept(ask, GenerationRequest("A <b>brass</b> teapot", n=2, image_size="1K"), now=now)
    refused = submission.accept(ask, GenerationRequest("sandbox:refuse sandbox:429:1", image_size="1K"), now=now)
    queue.run_to_the_end()
    Invitation.objects.create(code="abc", email="guest@example.com", created_by=operator)
    _buy(desk.alice, now)
    Job.objects.create(channel=desk.channel, image_model_id="gemini-3-pro-image", created_at=now, look_at=now)
    find = Generation.objects.get
    return World(desk.client, desk.alice, desk.channel, find(pk=good.generation_id), find(pk=refused.generation_id))


def _buy(person: Any, now: datetime) -> None:
    """A row of everything that has to do with payments."""
    wallet = Wallet.objects.get(account=person.account, mode="test")
    adjustments.set_spending_limit(account=person.account, mode="test", limit_micros=50_000_000, now=now)
    payment = Payment.objects.create(
        wallet=wallet,
        kind="checkout",
        livemode=False,
        amount_cents=1_000,
        credit_micros=10_000_000,
        origin="",
        stripe_customer_id="cus_1",
        stripe_payment_intent_id="pi_1",
        receipt_url="https://pay.stripe.com/receipts/1",
        created_at=now,
        expires_at=now,
    )
    with write_transaction():
        money.credit(payment, now=now)
        Payment.objects.filter(pk=payment.pk).update(state="succeeded")
    with write_transaction():
        refund = Refund.objects.create(
            payment=payment, amount_cents=100, credit_micros=1_000_000, is_ours=True, created_at=now
        )
        money.take_for_refund(refund, now=now)
    Dispute.objects.create(
        stripe_dispute_id="du_1",
        payment=payment,
        status="warning_needs_response",
        amount_cents=1,
        created_at=now,
        updated_at=now,
    )
    Customer.objects.create(account=person.account, livemode=False, stripe_customer_id="cus_1", created_at=now)
    StripeEvent.objects.create(
        stripe_event_id="evt_1", type="x", livemode=False, created=now, payload="{}", received_at=now
    )
    Drift.objects.create(subject="pi_1", invariant="I14", detail="x", payment=payment, found_at=now, seen_at=now)
    ReconciliationRun.objects.create(day=now.date(), started_at=now)
    AutoRecharge.objects.create(
        wallet=wallet, threshold_micros=1, amount_cents=500, monthly_ceiling_cents=500, updated_at=now
    )
    BonusStep.objects.create(minimum_cents=10_000, percent=16)
    RedemptionCode.objects.create(code="WELCOME", mode="test", amount_micros=1_000_000)
    codes.redeem(person.account, "welcome", now=now)
    SignupCredit.objects.create(
        account=person.account, state="refused", mailbox="a@b.c", domain="b.c", amount_micros=1, created_at=now
    )
    outbox.tell(person.account, key="1", subject="Hello", body="World", now=now)


# --- pages ---------------------------------------------------------------------------------------------------------


def _pages(world: World) -> Iterator[str]:
    yield reverse("admin:index")
    for model in OURS:
        base = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        yield reverse(f"{base}_changelist")
        row = model._default_manager.first()
        assert row is not None, f"the world has no {model.__name__}"
        yield reverse(f"{base}_change", args=[row.pk])
        yield reverse(f"{base}_history", args=[row.pk])
        if model not in READ_ONLY:
            yield reverse(f"{base}_add")
    yield reverse("admin:accounts_account_grant", args=[world.alice.account.pk])
    yield reverse("admin:accounts_account_adjust", args=[world.alice.account.pk])


def test_every_page_opens_without_inline_code_and_without_a_secret(world: World) -> None:
    sealed = Channel.objects.get(pk=world.channel.pk).sealed_secret
    hashes = list(ApiKey.objects.values_list("key_hash", flat=True))
    for url in _pages(world):
        response = world.client.get(url)
        assert response.status_code == 200, url
        assert "script-src 'self'" in response["Content-Security-Policy"]
        text = response.content.decode()
        assert not INLINE.findall(text), url
        assert SECRET not in text and sealed not in text, url
        assert not any(each in text for each in hashes), url


def test_every_model_of_ours_is_in_the_admin() -> None:
    seen_on_another_page = {
        "PaymentEntry",
        "Attempt",
        "Output",
        "Media",
        "Reference",
        "IdempotencyKey",
        "Upload",
        "BatchItem",
    }
    models = {
        each
        for label in ("accounts", "ledger", "payments", "promotions", "notices", "generation", "channels")
        for each in apps.get_app_config(label).get_models()
    }
    assert {each.__name__ for each in models if not admin.site.is_registered(each)} <= seen_on_another_page


def test_what_is_history_is_never_written(world: World) -> None:
    for model in READ_ONLY:
        _check_unwritable(world, model)


def _check_unwritable(world: World, model: Any) -> None:
    base = f"{model._meta.app_label}_{model._meta.model_name}"
    row = model.objects.first()
    before = model.objects.values().get(pk=row.pk)
    count = model.objects.count()
    for name, args in ((f"{base}_add", ()), (f"{base}_change", (row.pk,)), (f"{base}_delete", (row.pk,))):
        response = world.client.post(reverse(f"admin:{name}", args=args), {"post": "yes", "reason": "x", "status": "x"})
        assert response.status_code == 403, name
    actions = set(re.findall(r'<option value="(\w+)"', world.get(f"{base}_changelist").partition('name="action"')[2]))
    assert actions <= set(DEEDS.get(model, ()))
    world.client.post(
        reverse(f"admin:{base}_changelist"), {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes"}
    )
    assert model.objects.count() == count
    assert model.objects.values().get(pk=row.pk) == before


def test_the_overview_counts_images_money_queue_and_troubled_channels(world: World) -> None:
    Channel.objects.filter(pk=world.channel.pk).update(disabled_reason="unauthorized: no such key")
    text = world.get("index")
    assert "Vertex of ours (live)" in text
    assert "disabled: unauthorized: no such key" in text
    cells = re.search(r"Test images</th><td>(\d+)</td><td>(\d+)</td>", text)
    assert cells and cells.groups() == ("2", "2")
    assert re.search(r"Unfinished outputs</th><td>0</td>", text)


# --- the way in -----------------------------------------------------------------------------------------------------


def test_the_login_is_the_sites_own_and_leads_back(db: None, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("create_staff", email="boss@example.com", password="correct horse battery")
    client = Client()
    first = client.get("/admin/")
    second = client.get(first.url)
    assert second.url.startswith("/accounts/login/?next=")
    done = client.post(second.url, {"login": "boss@example.com", "password": "correct horse battery"})
    assert done.status_code == 302 and done.url == "/admin/"
    assert client.get("/admin/").status_code == 200


def test_who_is_no_staff_is_kept_out(bob: Any) -> None:
    client = Client()
    client.force_login(bob.user)
    assert client.get("/admin/", follow=True).status_code == 403


def _staff(*permissions: str) -> Client:
    user = User.objects.create_user("clerk@example.com", "x", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


def test_a_clerk_sees_no_money_and_grants_none(alice: Any) -> None:
    clerk = _staff("view_account", "change_account")
    assert b'id="overview"' not in clerk.get("/admin/").content
    page = clerk.get(reverse("admin:accounts_account_change", args=[alice.account.pk]))
    assert page.status_code == 200 and b"Grant credit" not in page.content
    grant = reverse("admin:accounts_account_grant", args=[alice.account.pk])
    assert clerk.get(grant).status_code == 403 and clerk.post(grant, {"mode": "live"}).status_code == 403


def test_a_clerk_gives_no_powers_away(operator: User) -> None:
    clerk = _staff("view_user", "change_user")
    own = User.objects.get(email="clerk@example.com")
    page = reverse("admin:accounts_user_change", args=[own.pk])
    clerk.post(
        page, {"email": own.email, "is_active": "on", "is_staff": "on", "is_superuser": "on", **_no_rows("memberships")}
    )
    own.refresh_from_db()
    assert not own.is_superuser
    assert clerk.get(f"/admin/accounts/user/{operator.pk}/password/").status_code == 403
    assert (
        clerk.post(reverse("admin:accounts_user_change", args=[operator.pk]), {"email": "mine@x.org"}).status_code
        == 403
    )


# --- accounts and money -----------------------------------------------------------------------------------------------


def _no_rows(*prefixes: str) -> dict[str, str]:
    return {f"{prefix}-{name}": "0" for prefix in prefixes for name in ("TOTAL_FORMS", "INITIAL_FORMS")}


def _form_name(text: str) -> str:
    found = re.search(r'name="once" value="([^"]+)"', text)
    assert found
    return found[1]


def test_a_grant_moves_money_once_with_actor_and_reason(desk: Desk, operator: User) -> None:
    account = desk.alice.account
    name = _form_name(desk.get("accounts_account_grant", account.pk))
    data = {"mode": "live", "amount_micros": "12.345678", "reason": "sorry for the outage", "once": name}
    assert "Granted $12.345678 (live)" in desk.post("accounts_account_grant", account.pk, **data)
    entry = Entry.objects.get(reason="sorry for the outage")
    assert (entry.kind, entry.amount_micros, entry.actor) == ("grant", 12_345_678, operator.email)
    assert entry.lot.kind == "promotional"
    assert Wallet.objects.get(account=account, mode="live").available_micros == 22_345_678
    assert "was sent before" in desk.post("accounts_account_grant", account.pk, **data)
    assert Wallet.objects.get(account=account, mode="live").available_micros == 22_345_678
    assert "sorry for the outage" in desk.get("accounts_account_history", account.pk)


def test_an_amount_that_is_none_is_refused(desk: Desk) -> None:
    before = Entry.objects.count()
    amounts = [
        "",
        "0",
        "-5",
        "+5",
        "1.0000001",
        "1234567890",
        "NaN",
        "Infinity",
        "1e3",
        "1,5",
        "1_0",
        "٣",
        "$5",
        "0x10",
    ]
    for amount in amounts:
        data = {"mode": "live", "amount_micros": amount, "reason": "x", "once": "6f0d4cf4-6f9c-4b5c-8f0f-1d3c2a1b0c9d"}
        text = desk.post("accounts_account_grant", desk.alice.account.pk, expected=200, **data)
        assert "Nothing was done" in text, amount
    assert Entry.objects.count() == before


def test_an_adjustment_lowers_a_balance_but_not_below_nothing(desk: Desk, operator: User) -> None:
    account = desk.alice.account
    data = {
        "mode": "live",
        "reason": "chargeback by hand",
        "once": _form_name(desk.get("accounts_account_adjust", account.pk)),
    }
    refused = desk.post("accounts_account_adjust", account.pk, expected=200, amount_micros="-10.000001", **data)
    assert "The wallet has less than that available." in refused
    desk.post("accounts_account_adjust", account.pk, amount_micros="-9.5", **data)
    assert Wallet.objects.get(account=account, mode="live").available_micros == 500_000
    entry = Entry.objects.get(reason="chargeback by hand")
    assert (entry.kind, entry.amount_micros, entry.actor) == ("adjust_down", 9_500_000, operator.email)


def test_a_reason_is_required(desk: Desk) -> None:
    data = {"mode": "live", "amount_micros": "5", "reason": "  ", "once": "6f0d4cf4-6f9c-4b5c-8f0f-1d3c2a1b0c9d"}
    desk.post("accounts_account_grant", desk.alice.account.pk, expected=200, **data)
    assert not Entry.objects.filter(amount_micros=5_000_000).exists()


def test_an_account_is_opened_with_wallets_and_play_money(desk: Desk, settings: Any) -> None:
    text = desk.post("accounts_account_add", name="ACME", owner_email=desk.alice.user.email.upper())
    account = Account.objects.get(name="ACME")
    assert account.public_id in text
    assert list(account.members.all()) == [desk.alice.user]
    test = Wallet.objects.get(account=account, mode="test")
    assert test.available_micros == settings.NBP_PLAY_MONEY_MICROS
    text = desk.post("accounts_account_add", expected=200, name="ACME 2", owner_email="nobody@example.com")
    assert "There is no user with this address" in text and not Account.objects.filter(name="ACME 2").exists()


def test_a_suspended_account_starts_nothing_and_comes_back(desk: Desk) -> None:
    account = desk.alice.account
    desk.act("accounts_account", "suspend", account)
    account.refresh_from_db()
    assert account.status == "suspended"
    desk.act("accounts_account", "reactivate", account)
    account.refresh_from_db()
    assert account.status == "active"


def test_accounts_are_found_and_show_balance_and_images(world: World) -> None:
    for term in ("alice", world.alice.user.email, world.alice.account.public_id):
        text = world.get("accounts_account_changelist", q=term)
        assert world.alice.account.public_id in text, term
    assert "$109.7052" in text  # $100 of play money less two images
    assert 'field-_image_count">2</td>' in text
    assert world.alice.account.public_id not in world.get("accounts_account_changelist", q="zebra")


def test_a_user_added_here_can_sign_in(desk: Desk) -> None:
    data = {
        "email": "New@Example.com",
        "usable_password": "true",
        "password1": "correct horse b",
        "password2": "correct horse b",
    }
    desk.post("accounts_user_add", **data)
    client = Client()
    done = client.post("/accounts/login/", {"login": "new@example.com", "password": "correct horse b"})
    assert done.status_code == 302 and "confirm" not in done.url
    text = desk.post("accounts_user_add", expected=200, **(data | {"email": "NEW@example.com"}))
    assert "There is a user with this address" in text


def test_an_invitation_gets_a_code_and_shows_its_link(desk: Desk) -> None:
    text = desk.post("accounts_invitation_add", email="friend@example.com", expires_at_0="", expires_at_1="")
    row = Invitation.objects.get(email="friend@example.com")
    assert len(row.code) >= 30 and f"/invite/{row.code}/" in text
    assert row.created_by == User.objects.get(email="operator@example.com")


# --- keys -------------------------------------------------------------------------------------------------------------

RAW = re.compile(r"nbp_(?:live|test)_[0-9A-Za-z]{12}_[0-9A-Za-z]{49}")


def _key_form(account: Account, **more: Any) -> dict[str, Any]:
    return {
        "account": str(account.pk),
        "name": "Till",
        "mode": "live",
        "scopes": ["generate", "read"],
        "budget_period": "monthly",
        "budget_micros": "5",
        "is_grounding_allowed": "on",
        "allowed_models": "gemini-3-pro-image",
        "ip_list": "10.0.0.0/8\n::1",
    } | more


def test_a_new_key_is_shown_once_and_works(desk: Desk) -> None:
    text = desk.post("accounts_apikey_add", **_key_form(desk.alice.account))
    raw = RAW.search(text)
    assert raw, "the key is not on the page after it was made"
    row = ApiKey.objects.get(name="Till")
    parsed = keys.parse(raw[0])
    assert parsed and parsed.key_id == row.key_id and keys.hash_secret(parsed.secret) == row.key_hash
    assert (row.budget_micros, row.scopes, row.ip_list) == (5_000_000, ["generate", "read"], ["10.0.0.0/8", "::1"])
    assert row.created_by and row.created_by.email == "operator@example.com"
    for page in (desk.get("accounts_apikey_changelist"), desk.get("accounts_apikey_change", row.pk), desk.get("index")):
        assert not RAW.search(page)
    assert not RAW.search(desk.get("accounts_apikey_history", row.pk))


def test_a_key_with_nonsense_for_limits_is_refused(desk: Desk) -> None:
    text = desk.post(
        "accounts_apikey_add", expected=200, **_key_form(desk.alice.account, ip_list="10.0.0.0/8, kitchen")
    )
    assert "neither an address nor a network" in text and "kitchen" in text
    assert not RAW.search(text) and not ApiKey.objects.filter(name="Till").exists()


def test_a_budget_is_changed_for_the_period_that_runs(world: World) -> None:
    row = world.alice.keys["test"].api_key
    period = BudgetPeriod.objects.get(api_key=row)
    assert period.spent_micros == 294_800
    form = {"name": "renamed", "scopes": ["generate"], "budget_micros": "7.25", "is_grounding_allowed": "on"}
    world.post("accounts_apikey_change", row.pk, **form)
    row.refresh_from_db()
    period.refresh_from_db()
    assert (row.name, row.budget_micros, period.limit_micros) == ("renamed", 7_250_000, 7_250_000)
    world.post("accounts_apikey_change", row.pk, **(form | {"budget_micros": "0.1"}))
    period.refresh_from_db()
    assert period.limit_micros == 294_800, "the running limit never falls below what is spent"


def test_keys_are_disabled_enabled_rotated_and_revoked(desk: Desk) -> None:
    row = desk.alice.keys["live"].api_key
    desk.act("accounts_apikey", "disable", row)
    row.refresh_from_db()
    assert row.disabled_at
    desk.act("accounts_apikey", "enable", row)
    text = desk.act("accounts_apikey", "rotate", row)
    assert len(set(RAW.findall(text))) == 1
    row.refresh_from_db()
    assert row.disabled_at is None and row.expires_at and row.rotations.count() == 1
    desk.act("accounts_apikey", "revoke", row)
    row.refresh_from_db()
    assert row.revoked_at
    assert not RAW.search(desk.act("accounts_apikey", "rotate", row)) and row.rotations.count() == 1
    page = reverse("admin:accounts_apikey_change", args=[row.pk])
    assert desk.client.post(page, {"name": "back", "scopes": ["read"]}).status_code == 403
    assert desk.client.post(reverse("admin:accounts_apikey_delete", args=[row.pk]), {"post": "yes"}).status_code == 403


def test_keys_are_filtered_by_state(desk: Desk) -> None:
    row = desk.alice.keys["live"].api_key
    keys.disable(row, now=datetime.now(UTC))
    for state in ("active", "disabled", "expired", "revoked"):
        text = desk.get("accounts_apikey_changelist", state=state, account=desk.alice.account.public_id)
        assert (row.prefix in text) is (state == "disabled"), state


# --- generations and charges --------------------------------------------------------------------------------------------


def test_generations_are_found_by_public_id_prompt_and_account(world: World) -> None:
    account = world.alice.account
    for term in (world.good.public_id, world.output.public_id, account.public_id, "teapot", account.name):
        assert world.good.public_id in world.get("generation_generation_changelist", q=term), term
    assert world.good.public_id not in world.get("generation_generation_changelist", q=world.refused.public_id)
    assert world.good.public_id not in world.get("generation_generation_changelist", status__exact="failed")


def test_a_generation_shows_what_each_output_went_through(world: World) -> None:
    text = world.get("generation_generation_change", world.good.pk)
    charge = Charge.objects.get(output=world.output)
    assert "A &lt;b&gt;brass&lt;/b&gt; teapot" in text
    assert f'id="{world.output.public_id}"' in text
    assert reverse("admin:generation_charge_change", args=[charge.pk]) in text
    image = re.search(r'<img src="(/m/[^"]+)"', text)
    assert image and image[1].startswith(f"/m/{world.output.public_id}?")
    text = world.get("generation_generation_change", world.refused.pk)
    attempts = Attempt.objects.filter(output__generation=world.refused)
    assert attempts.count() == 2 and all(each.upstream_request_id in text for each in attempts)
    assert "content_refused" in text and "429" in text and 'src="/m/' not in text


def test_the_entry_of_an_image_leads_to_it(world: World) -> None:
    entry = Entry.objects.get(kind="capture", hold__output_id=world.output.pk)
    link = reverse("admin:generation_output", args=[world.output.public_id])
    assert link in world.get("ledger_entry_change", entry.pk)
    assert link in world.get("ledger_entry_changelist", q=world.output.public_id)
    answer = world.client.get(link)
    assert answer.status_code == 302
    assert (
        answer.url == f"{reverse('admin:generation_generation_change', args=[world.good.pk])}#{world.output.public_id}"
    )
    assert world.client.get(reverse("admin:generation_output", args=["out_nonsense"])).status_code == 404


def _sums(text: str) -> list[str]:
    table = text[text.index('id="sums"') :]
    return re.findall(r"<td>([^<]+)</td>", table[: table.index("</table>")])


def test_charges_are_summed_for_the_filter(world: World, bob: Any) -> None:
    Attempt.objects.filter(output=world.output).update(cost_micros=9)
    Attempt.objects.filter(output__generation=world.refused, status="ok").update(cost_micros=2_500)
    expected = ["$0.2948", "$0.00", "$0.2948", "$0.0025", "$0.2923"]
    assert _sums(world.get("generation_charge_changelist")) == expected
    today = datetime.now(UTC).date()
    same = [
        {"mode": "test"},
        {"account": world.alice.account.public_id},
        {"q": world.alice.account.public_id},
        {"image_model__name__exact": world.good.image_model_id},
        {"channel__id__exact": str(Channel.objects.get(name="sandbox").pk)},
        {"api_key__id__exact": str(world.alice.keys["test"].api_key.pk)},
        {"created_at__gte": f"{today} 00:00:00+00:00", "created_at__lt": f"{today + timedelta(days=2)} 00:00:00+00:00"},
        {"created_at__year": str(today.year)},
    ]
    for query in same:
        assert _sums(world.get("generation_charge_changelist", **query)) == expected, query
    others = [
        {"mode": "live"},
        {"account": bob.account.public_id},
        {"q": bob.account.public_id},
        {"channel__id__exact": str(world.channel.pk)},
        {"created_at__year": str(today.year - 1)},
    ]
    for query in others:
        assert _sums(world.get("generation_charge_changelist", **query)) == ["$0.00"] * 5, query
    odd = [
        {"_facets": "True"},
        {"channel__id__in": f"{world.channel.pk},{world.channel.pk}"},
        {"api_key__isnull": "0"},
        {"mode": "nonsense"},
        {"account": "nonsense"},
        {"o": "-3"},
        {"e": "1"},
    ]
    for query in odd:
        world.get("generation_charge_changelist", **query)
    for query in (
        {"channel__id__exact": "nonsense"},
        {"created_at__gte": "nonsense"},
        {"created_at__year": "nonsense"},
    ):
        assert world.client.get(reverse("admin:generation_charge_changelist"), query).status_code == 302, query
    only_image = _sums(world.get("generation_charge_changelist", q=world.output.public_id))
    assert only_image == ["$0.1474", "$0.00", "$0.1474", "$0.00", "$0.1474"]


# --- channels -----------------------------------------------------------------------------------------------------------


def _channel_form(**more: Any) -> dict[str, Any]:
    return {
        "name": "Other road",
        "priority": "5",
        "weight": "1",
        "is_enabled": "on",
        "base_url": "",
        "upstream_models": "{}",
    } | more


def test_a_secret_goes_in_and_never_comes_out(desk: Desk) -> None:
    made = _channel_form(kind="gemini", mode="live", secret="first-secret-value")
    text = desk.post("channels_channel_add", **made)
    row = Channel.objects.get(name="Other road")
    assert row.secret() == "first-secret-value" and "first-secret" not in row.sealed_secret
    pages = [text, desk.get("channels_channel_change", row.pk)]
    pages.append(desk.post("channels_channel_change", row.pk, **_channel_form(priority="7", secret="")))
    row.refresh_from_db()
    assert (row.secret(), row.priority) == ("first-secret-value", 7), "an empty secret leaves it as it is"
    Channel.objects.filter(pk=row.pk).update(disabled_reason="unauthorized: bad key")
    pages.append(desk.post("channels_channel_change", row.pk, **_channel_form(secret="second-secret-value")))
    row.refresh_from_db()
    assert row.secret() == "second-secret-value" and row.disabled_reason == "", "a new secret ends the fault"
    pages.append(
        desk.post("channels_channel_change", row.pk, expected=200, **_channel_form(name="", secret="third-secret"))
    )
    pages.append(desk.get("channels_channel_history", row.pk))
    for page in pages:
        assert not re.search("(first|second|third)-secret", page) and row.sealed_secret not in page


def test_a_form_does_not_write_over_a_workers_notes(desk: Desk) -> None:
    until = datetime.now(UTC) + timedelta(minutes=5)
    Channel.objects.filter(pk=desk.channel.pk).update(cool_until=until, failures_in_a_row=6)
    desk.post("channels_channel_change", desk.channel.pk, **_channel_form(kind="sandbox", mode="test"))
    desk.channel.refresh_from_db()
    assert (desk.channel.cool_until, desk.channel.failures_in_a_row) == (until, 6)
    assert (desk.channel.kind, desk.channel.mode) == ("gemini", "live"), "a road keeps its kind and mode"
    assert "cooling until" in desk.get("channels_channel_changelist")


def test_impossible_channels_are_refused(desk: Desk) -> None:
    for wrong in (
        {"kind": "sandbox", "mode": "live"},
        {"kind": "carrier-pigeon", "mode": "live"},
        {"kind": "gemini", "mode": "live", "upstream_models": '{"no-such-model": "x"}'},
        {"kind": "gemini", "mode": "live", "upstream_models": '{"gemini-3-pro-image": 3}'},
        {"kind": "gemini", "mode": "live", "only_models": ["no-such-model"]},
    ):
        desk.post("channels_channel_add", expected=200, **_channel_form(**wrong))
    assert not Channel.objects.filter(name="Other road").exists()


def test_the_list_of_channels_says_how_each_is_doing(world: World) -> None:
    sandbox = Channel.objects.get(name="sandbox")
    Attempt.objects.filter(channel=sandbox, status="ok").update(latency_ms=1500)
    text = world.get("channels_channel_changelist")
    assert "75.0 % of 4" in text, "three answers, a refusal among them, and one 429"
    assert "1.5 s / 1.5 s" in text
    assert "busy: slow down" in text
    Channel.objects.filter(pk=world.channel.pk).update(sealed_secret="")
    assert "no credentials" in world.get("channels_channel_changelist")


def test_a_fault_is_cleared(desk: Desk) -> None:
    Channel.objects.filter(pk=desk.channel.pk).update(disabled_reason="unauthorized", failures_in_a_row=3)
    desk.act("channels_channel", "clear_fault", desk.channel)
    desk.channel.refresh_from_db()
    assert (desk.channel.disabled_reason, desk.channel.failures_in_a_row) == ("", 0)


def test_a_channel_is_tested_without_rows_of_money_or_attempts(desk: Desk) -> None:
    def counts() -> list[int]:
        return [model.objects.count() for model in (Attempt, Entry, Hold, Charge, Generation)]

    before = counts()
    with FakeGemini(cached=True) as fake:
        Channel.objects.filter(pk=desk.channel.pk).update(base_url=fake.base_url, disabled_reason="old fault")
        text = desk.act("channels_channel", "test", desk.channel, Channel.objects.get(name="sandbox"))
        assert "Channel Vertex of ours works" in text and "Channel sandbox works" in text
        assert [each.headers["x-goog-api-key"] for each in fake.requests] == [SECRET]
        desk.channel.refresh_from_db()
        assert desk.channel.disabled_reason == "old fault", "a probe stores nothing"
    assert "Vertex of ours does not work: unreachable" in desk.act("channels_channel", "test", desk.channel)
    assert counts() == before


def test_the_environments_channel_says_where_its_key_comes_from(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "key-of-the-environment")
    Channel.objects.filter(pk=desk.channel.pk).update(is_from_environment=True, sealed_secret="")
    text = desk.get("channels_channel_change", desk.channel.pk)
    assert "from the environment: GEMINI_API_KEY" in text and "(set)" in text
    assert 'name="secret"' not in text and "key-of-the-environment" not in text


# --- catalogue and price book ---------------------------------------------------------------------------------------------


def _price_form(**more: Any) -> dict[str, Any]:
    soon = datetime.now(UTC) + timedelta(seconds=1)
    return {
        "image_model": "gemini-3-pro-image",
        "image_size": "1K",
        "lane": "standard",
        "valid_from_0": f"{soon:%Y-%m-%d}",
        "valid_from_1": f"{soon:%H:%M:%S}",
        "image_micros": "0.20",
        "reference_micros": "0",
        "grounding_micros": "0",
        "input_micros_per_million_tokens": "2",
        "input_allowance_tokens": "2000",
        "markup_basis_points": "1000",
        "cached_micros": "0",
        "own_key_micros": "0",
    } | more


def test_a_price_that_was_charged_stays_as_it_is(world: World) -> None:
    price = Charge.objects.first().price
    page = reverse("admin:generation_price_change", args=[price.pk])
    assert world.client.get(page).status_code == 200
    assert world.client.post(page, _price_form()).status_code == 403
    assert (
        world.client.post(reverse("admin:generation_price_delete", args=[price.pk]), {"post": "yes"}).status_code == 403
    )
    price.refresh_from_db()
    assert price.image_micros == 134_000


def test_a_price_is_changed_by_a_later_row(world: World) -> None:
    world.post("generation_price_add", **_price_form())
    assert Price.objects.filter(image_size="1K", image_micros=200_000).exists()
    text = world.post(
        "generation_price_add", expected=200, **_price_form(valid_from_0="2026-06-01", valid_from_1="00:00:00")
    )
    assert "were sold after that" in text
    world.post("generation_price_add", expected=200, **_price_form(image_micros="-1"))
    assert Price.objects.filter(image_model="gemini-3-pro-image", image_size="1K", lane="standard").count() == 2


def test_the_price_book_shows_sale_price_cost_and_margin(desk: Desk) -> None:
    text = desk.get("generation_price_changelist")
    assert "$0.1474" in text, "$0.134 and 10 %"
    assert "gemini: $0.1344" in text, "1,120 tokens at $120 a million"
    assert "gemini: $0.0130 (8.8 %)" in text


def test_a_price_nobody_paid_may_be_corrected(desk: Desk) -> None:
    price = Price.objects.get(image_model="gemini-3-pro-image", image_size="4K", lane="standard")
    desk.post("generation_price_change", price.pk, **_price_form(image_size="4K", image_micros="0.3"))
    price.refresh_from_db()
    assert price.image_micros == 300_000


def test_the_default_model_is_changed_and_never_deleted(desk: Desk) -> None:
    old, new = ImageModel.objects.get(is_default=True), ImageModel.objects.get(pk="gemini-nano-banana-2.1")
    desk.act("generation_imagemodel", "make_default", new)
    assert list(ImageModel.objects.filter(is_default=True)) == [new]
    desk.client.post(reverse("admin:generation_imagemodel_delete", args=[new.pk]), {"post": "yes"})
    assert ImageModel.objects.filter(pk=new.pk).exists() and ImageModel.objects.filter(pk=old.pk).exists()


def test_a_model_switched_off_here_is_not_sold(desk: Desk) -> None:
    row = ImageModel.objects.get(pk="gemini-3.1-flash-lite-image")
    form = {
        "title": row.title,
        "provider": row.provider,
        "upstream_model": row.upstream_model,
        "sizes": ["1K"],
        "default_size": "1K",
        "aspect_ratios": "1:1\n16:9",
        "max_prompt_characters": "1000",
        "max_n": "4",
        "max_references": "2",
        "max_subjects": "1",
        **_no_rows("aliases"),
    }
    desk.post("generation_imagemodel_change", row.pk, **form)
    row.refresh_from_db()
    assert (row.is_enabled, row.aspect_ratios, row.max_n) == (False, ["1:1", "16:9"], 4)
    with pytest.raises(Refusal):
        submission.quote(desk.alice.requester(), GenerationRequest("x", model=row.name), now=datetime.now(UTC))
    desk.post("generation_imagemodel_change", row.pk, expected=200, **(form | {"default_size": "4K"}))


def test_the_first_page_says_what_about_payments_waits_for_a_person(world: World) -> None:
    page = world.get("index")
    found = dict(re.findall(r'<a href="[^"]*">([\w ]+)</a></th><td colspan="2">(\d+)</td>', page))
    assert found == {
        "Drift between Stripe and the ledger": "1",
        "Disputes to answer": "1",
        "Events that were given up": "1",
    }
    assert "Compared with Stripe" in page


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"options": '{"size": "suffix"}'}, ""),
        ({"options": '{"size": "colour"}'}, "size is one of image_config"),
        ({"options": '{"colour": "red"}'}, "and no &#x27;colour&#x27;"),
        ({"options": '{"size": 7}'}, "Write {&quot;setting&quot;"),
        ({"call_micros": '{"gemini-3-pro-image": {"1K": 90000, "4K": 180000}}'}, ""),
        ({"call_micros": '{"gemini-3-pro-image": 90000}'}, ""),
        ({"call_micros": '{"no-model": 90000}'}, "The catalogue has no no-model"),
        ({"call_micros": '{"gemini-3-pro-image": {"8K": 1}}'}, "Write {&quot;image model&quot;"),
        ({"call_micros": '{"gemini-3-pro-image": -1}'}, "Write {&quot;image model&quot;"),
    ],
)
def test_what_only_an_adapter_knows_is_checked_by_it(desk: Desk, fields: dict[str, str], words: str) -> None:
    form = {
        "name": "reseller",
        "kind": "openai_chat",
        "mode": "live",
        "priority": "5",
        "weight": "3",
        "is_enabled": "on",
        "base_url": "https://api.example.com/v1",
        "secret": "sk-x",
        "options": "{}",
        "upstream_models": "{}",
        "call_micros": "{}",
        "requests_per_minute": "250",
        **fields,
    }
    text = desk.post("channels_channel_add", expected=200 if words else 302, **form)
    assert words in text
    assert Channel.objects.filter(name="reseller", weight=3, requests_per_minute=250).exists() == (not words)
