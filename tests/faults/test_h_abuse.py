"""What an attacker tries at the doors: guessing keys, swapping ciphertexts, fields that are not theirs, floods."""

from __future__ import annotations

import re
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from accounts import keys, sealed
from accounts.ledger.models import Entry, Hold, Wallet
from accounts.models import ApiKey, User
from generation import execution, tasks
from generation.channels import registry
from generation.channels.models import Channel
from generation.execution import dispatch
from generation.models import Attempt, Generation, Output
from tests.conftest import limited
from tests.faults.doors import ask, code_of, signed_in

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("audited")]


# --- H1 ---------------------------------------------------------------------------------------------------------------


def _key(mode: str, key_id: str, secret: str) -> str:
    """A well-formed key: its checksum is right."""
    body = f"nbp_{mode}_{key_id}_{secret}"
    return body + keys._checksum(body)


def _guess(raw: str, address: str) -> Any:
    headers = {"authorization": f"Bearer {raw}"}
    return Client().get("/api/v1/wallet", headers=headers, REMOTE_ADDR=address)


def test_h1_an_unknown_key_and_a_wrong_secret_are_one_answer_for_the_same_work(
    alice: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = keys.parse(alice.keys["test"].raw)
    hashed: list[str] = []
    real = keys.hash_secret
    monkeypatch.setattr("accounts.authentication.hash_secret", lambda secret: hashed.append(secret) or real(secret))
    answers = [
        _guess(_key("test", known.key_id, "x" * 43), "192.0.2.1"),
        _guess(_key("test", "0" * 12, "x" * 43), "192.0.2.1"),
        _guess(_key("live", known.key_id, known.secret), "192.0.2.1"),
    ]
    seen = {
        (each.status_code, re.sub(r"req_\w+", "", each.content.decode()), each.headers["WWW-Authenticate"])
        for each in answers
    }
    assert len(seen) == 1
    assert code_of(answers[0]) == (401, "invalid_api_key")
    assert hashed == ["x" * 43, "x" * 43, known.secret]


def test_h1_guessing_is_slowed_down_by_address_and_nobody_else_is(alice: Any, settings: Any) -> None:
    settings.NBP_REFUSED_KEYS_PER_MINUTE = 3
    guesser, neighbour = f"2001:db8::{uuid.uuid4().hex[:4]}", f"2001:db8::{uuid.uuid4().hex[:4]}"
    seen = [code_of(_guess(_key("test", f"{number:012}", "x" * 43), guesser)) for number in range(5)]
    assert seen == [(401, "invalid_api_key")] * 3 + [(429, "too_many_refused_keys")] * 2
    assert int(_guess("nbp_test_nonsense", guesser).headers["Retry-After"]) >= 1
    assert code_of(_guess("nbp_test_nonsense", neighbour)) == (401, "invalid_api_key")
    assert _guess(alice.keys["test"].raw, guesser).status_code == 200


# --- H9 ---------------------------------------------------------------------------------------------------------------


def _channel(name: str, secret: str) -> Channel:
    channel = Channel(name=name, kind="gemini", mode="live")
    channel.set_secret(secret)
    channel.save()
    return channel


def test_h9_a_ciphertext_copied_to_another_row_opens_nothing_and_calls_nobody(
    alice: Any, queue: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rich, poor = _channel("rich", "the secret of the rich"), _channel("poor", "the secret of the poor")
    Channel.objects.filter(pk=poor.pk).update(sealed_secret=rich.sealed_secret)
    Channel.objects.filter(pk=rich.pk).update(is_enabled=False)
    called: list[Any] = []

    async def note(*arguments: Any) -> Any:
        called.append(arguments)
        raise AssertionError("a swapped secret was used")

    monkeypatch.setattr(registry.ADAPTERS["gemini"], "generate", note)
    ask(alice, "POST", "generations", {"prompt": "x"}, mode="live")
    queue.run_to_the_end()
    poor.refresh_from_db()
    assert called == []
    assert (Output.objects.get().state, Output.objects.get().error_code) == ("failed", "upstream_unavailable")
    assert set(Attempt.objects.values_list("status", "error_kind")) == {("error", "unauthorized")}
    assert poor.disabled_reason
    assert "the secret" not in poor.disabled_reason + poor.last_error
    assert set(Hold.objects.values_list("state", flat=True)) == {"released"}
    with pytest.raises(sealed.SealBroken):
        poor.secret()


def test_h9_the_key_ring_turns_and_a_key_that_was_taken_out_opens_nothing(settings: Any) -> None:
    old, new = "k1:" + "1" * 64, "k2:" + "2" * 64
    settings.NBP_FIELD_KEYS = old
    channel = _channel("one", "a secret")
    settings.NBP_FIELD_KEYS = f"{new},{old}"
    assert channel.secret() == "a secret"
    kept = channel.sealed_secret
    channel.set_secret(channel.secret())
    settings.NBP_FIELD_KEYS = new
    assert channel.secret() == "a secret"
    channel.sealed_secret = kept
    with pytest.raises(sealed.SealBroken):
        channel.secret()
    # The same name with other bits is not the same key.
    settings.NBP_FIELD_KEYS = "k1:" + "3" * 64
    with pytest.raises(sealed.SealBroken):
        channel.secret()


# --- H13 --------------------------------------------------------------------------------------------------------------

NOT_THEIRS = {
    "account": "acc_1",
    "api_key": "key_1",
    "user": 1,
    "role": "owner",
    "wallet": "live",
    "mode": "live",
    "price": 0,
    "price_micros": 0,
    "quote_micros": 0,
    "status": "succeeded",
    "is_superuser": True,
    "channel": "sandbox",
    "id": "gen_1",
    "created_at": "2020-01-01",
}


@pytest.mark.parametrize("name", sorted(NOT_THEIRS))
def test_h13_a_field_that_is_not_theirs_is_refused_by_name(alice: Any, name: str) -> None:
    answer = ask(alice, "POST", "generations", {"prompt": "x", name: NOT_THEIRS[name]})
    assert code_of(answer) == (400, "unknown_field")
    assert answer.json()["error"]["param"] == name
    assert (Generation.objects.count(), Hold.objects.count()) == (0, 0)


def test_h13_the_sites_forms_take_only_their_own_fields(alice: Any, bob: Any, queue: Any) -> None:
    browser = signed_in(alice.user)
    form = {"prompt": "x", "n": "1", "image_size": "1K", "key": str(uuid.uuid4())}
    stolen = {
        "account": bob.account.pk,
        "user": bob.user.pk,
        "mode": "live",
        "price_micros": "0",
        "status": "succeeded",
    }
    assert browser.post("/playground/", form | stolen).status_code == 302
    row = Generation.objects.get()
    assert (row.account, row.user, row.mode, row.status) == (alice.account, alice.user, "test", "queued")
    assert row.quote_micros > 0
    queue.run()
    assert Wallet.objects.get(account=alice.account, mode="test").available_micros == 100_000_000 - row.quote_micros
    ticket = re.search(r'name="ticket" value="([^"]+)"', browser.get("/keys/").content.decode())[1]
    limits = {"scopes": "admin", "budget_owner": "x", "key_hash": "0" * 64, "revoked_at": "", "account": bob.account.pk}
    assert browser.post("/keys/", {"name": "new", "mode": "test", "ticket": ticket} | limits).status_code == 200
    made = ApiKey.objects.get(name="new")
    assert (made.account, made.scopes, made.budget_owner) == (alice.account, ["generate", "read", "billing"], None)
    assert made.key_hash != "0" * 64


def test_h13_nobody_signs_up_as_staff(settings: Any) -> None:
    settings.NBP_SIGNUP = "open"
    password = "a long and unlikely pass phrase"
    form = {"email": "eve@example.com", "password1": password, "password2": password}
    powers = {"is_staff": "on", "is_superuser": "on", "is_active": "on", "groups": "1", "role": "owner"}
    assert Client().post("/accounts/signup/", form | powers).status_code == 302
    user = User.objects.get(email="eve@example.com")
    assert (user.is_staff, user.is_superuser, user.user_permissions.count()) == (False, False, 0)
    assert Entry.objects.filter(wallet__account__memberships__user=user, wallet__mode="live").count() == 0


# --- H16 --------------------------------------------------------------------------------------------------------------


def test_h16_a_key_has_its_own_minute_and_a_visitor_the_accounts(alice: Any, make_person: Any, settings: Any) -> None:
    limited(alice, requests_per_minute=2)
    seen = [ask(alice, "GET", "wallet").status_code for _ in range(4)]
    assert seen == [200, 200, 429, 429]
    refused = ask(alice, "GET", "wallet")
    assert code_of(refused) == (429, "rate_limit_exceeded")
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert ask(alice, "GET", "wallet", mode="live").status_code == 200, "another key"
    assert ask(make_person(), "GET", "wallet").status_code == 200, "another account"
    settings.NBP_REQUESTS_PER_MINUTE = 2
    browsers = [signed_in(alice.user) for _ in range(2)]
    form = {"prompt": "", "n": "1", "image_size": "1K"}
    statuses = []
    for place in range(4):
        answer = browsers[place % 2].post("/playground/", form | {"prompt": f"kite {place}", "key": str(uuid.uuid4())})
        statuses.append(answer.status_code)
    assert statuses == [302, 302, 422, 422], "two browsers of one account share its minute"
    assert Generation.objects.count() == 2


def _ask_for(person: Any, mode: str, count: int) -> None:
    for _ in range(-(-count // 10)):
        body = {"prompt": "x", "n": min(count, 10), "image_size": "1K"}
        assert ask(person, "POST", "generations", body, mode=mode).status_code == 202


def _turns(queue: Any) -> list[Any]:
    """Whose outputs were nudged, in order."""
    accounts = dict(Output.objects.values_list("pk", "account_id"))
    return [accounts[each] for each in queue.sent]


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("mode", ["live", "test"])
def test_h16_a_thousand_images_of_one_account_do_not_delay_anothers_one(
    make_person: Any, queue: Any, settings: Any, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    # However long a busy machine takes for a thousand, no nudge is taken for lost meanwhile.
    monkeypatch.setattr(dispatch, "NUDGE_PATIENCE", timedelta(minutes=10))
    settings.NBP_ACCOUNT_RUNNING_CAP, settings.NBP_TEST_RUNNING_CAP = 10, 8
    Channel.objects.create(name="live road", kind="sandbox", mode="live")
    rich = make_person("rich", live_micros=1_000_000_000, test_micros=1_000_000_000)
    poor = make_person("poor", live_micros=1_000_000, test_micros=1_000_000)
    _ask_for(rich, mode, 1000)
    assert len(queue.sent) <= settings.NBP_ACCOUNT_RUNNING_CAP
    _ask_for(poor, mode, 1)
    # One worker takes the nudges in their order, and the sweeper comes by after each.
    runs = 0
    while Output.objects.get(account=poor.account).state != "succeeded":
        runs += 1
        assert runs <= settings.NBP_ACCOUNT_RUNNING_CAP + 1, "it is behind what ran already, before all that waits"
        tasks.nudge(execution.run(queue.sent.pop(0)))
        tasks.sweep()
    assert Output.objects.filter(account=rich.account, state="queued").count() >= 900


def test_h16_the_sweeper_takes_the_accounts_in_turn(make_person: Any, queue: Any, settings: Any) -> None:
    Channel.objects.create(name="live road", kind="sandbox", mode="live")
    people = [make_person(f"person {number}", live_micros=10_000_000) for number in range(3)]
    for person, count in zip(people, (20, 3, 1), strict=True):
        _ask_for(person, "live", count)
    # All nudges are lost: a broker that forgot everything.
    queue.sent.clear()
    Output.objects.update(nudged_at=None)
    tasks.sweep()
    first, second, third = (person.account.pk for person in people)
    assert _turns(queue) == [first, second, third, first, second, first, second] + [first] * 17
    queue.run()
