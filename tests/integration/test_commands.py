"""The operator's commands: one JSON object and nothing else with --json, words otherwise, and clear refusals."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.core.management import CommandError, call_command
from django.test import Client

from accounts import authentication, keys
from accounts.ledger.models import Entry, Wallet
from accounts.models import Account, ApiKey, User
from generation.channels import probing
from generation.channels.fakes.gemini import FakeGemini, Fault
from generation.channels.models import Channel
from generation.egress import loop
from generation.models import Attempt

pytestmark = pytest.mark.django_db
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True, scope="module")
def _loop_ends() -> Iterator[None]:
    yield
    loop.stop()


def run(name: str, *arguments: str) -> dict[str, Any]:
    """The one JSON object of a command."""
    out = io.StringIO()
    call_command(name, *arguments, "--json", stdout=out)
    found: dict[str, Any] = json.loads(out.getvalue())
    return found


def refused(name: str, *arguments: str) -> str:
    """Why a command did nothing; standard output stays empty."""
    out = io.StringIO()
    with pytest.raises(CommandError) as caught:
        call_command(name, *arguments, "--json", stdout=out)
    assert out.getvalue() == ""
    return str(caught.value)


# --- people and accounts --------------------------------------------------------------------------------------------


def test_an_account_is_made_for_a_new_person_who_can_sign_in(settings: Any) -> None:
    found = run("create_account", "--email", "Ann@Example.com", "--name", "Ann's shop")
    account = Account.objects.get(name="Ann's shop")
    assert (found["id"], found["email"]) == (account.public_id, "ann@example.com")
    assert EmailAddress.objects.get(email="ann@example.com").verified
    assert Wallet.objects.get(account=account, mode="test").available_micros == settings.NBP_PLAY_MONEY_MICROS
    done = Client().post("/accounts/login/", {"login": "ann@example.com", "password": found["password"]})
    assert done.status_code == 302 and "confirm" not in done.url


def test_an_account_takes_a_given_password_and_the_address_as_name() -> None:
    found = run("create_account", "--email", "bo@example.com", "--password", "correct horse battery")
    assert found["password"] == "correct horse battery"
    assert Account.objects.get().name == "bo@example.com"
    assert User.objects.get().check_password("correct horse battery")


def test_a_user_without_account_keeps_the_password() -> None:
    User.objects.create_user("cy@example.com", "the old one, long")
    assert run("create_account", "--email", "CY@example.com")["password"] is None
    assert User.objects.get().check_password("the old one, long")
    assert "has an account: acc_" in refused("create_account", "--email", "cy@example.com")
    assert Account.objects.count() == 1


def test_a_password_of_a_user_is_not_changed_on_the_way() -> None:
    User.objects.create_user("dee@example.com", "the old one, long")
    assert "leave the password out" in refused("create_account", "--email", "dee@example.com", "--password", "new")
    assert not Account.objects.exists()


def test_no_account_for_what_is_no_address() -> None:
    assert "not an e-mail address" in refused("create_account", "--email", "ann at example")
    assert not User.objects.exists()


def test_staff_is_made_once_and_promoted_later() -> None:
    found = run("create_staff", "--email", "Boss@example.com")
    boss = User.objects.get(email="boss@example.com")
    assert boss.is_staff and boss.is_superuser and boss.check_password(found["password"])
    assert EmailAddress.objects.get(user=boss).verified and found["is_new"]
    again = run("create_staff", "--email", "boss@example.com")
    assert (again["password"], again["is_new"]) == (None, False)
    run("create_staff", "--email", "boss@example.com", "--password", "a new one, longer")
    boss.refresh_from_db()
    assert boss.check_password("a new one, longer")
    clerk = User.objects.create_user("clerk@example.com", "x")
    EmailAddress.objects.create(user=clerk, email="clerk@example.com", verified=False, primary=True)
    run("create_staff", "--email", "clerk@example.com")
    clerk.refresh_from_db()
    assert clerk.is_staff and EmailAddress.objects.get(user=clerk).verified


# --- keys -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def account() -> Account:
    run("create_account", "--email", "owner@example.com", "--name", "Shop")
    return Account.objects.get(name="Shop")


def test_a_key_is_issued_by_account_id_or_address_and_works(account: Account) -> None:
    for who in (account.public_id, "OWNER@example.com"):
        found = run("create_api_key", "--account", who, "--mode", "test", "--name", "Till")
        asked = authentication.authenticate(found["key"], address="192.0.2.1", now=datetime.now(UTC))
        assert asked.account == account and asked.api_key and asked.api_key.public_id == found["id"]
        assert asked.api_key.scopes == list(keys.SCOPES)


def test_a_key_has_the_limits_it_was_given(account: Account) -> None:
    words = (
        "--budget-usd 2.50 --budget-period monthly --models gemini-3-pro-image,nano --scopes read,generate "
        "--requests-per-minute 30 --concurrency 4 --max-image-size 2K --max-n 3 --max-references 0 --no-grounding "
        "--ip-list 10.0.0.0/8,2001:db8::1"
    )
    found = run("create_api_key", "--account", account.public_id, "--mode", "live", "--name", "Till", *words.split())
    row = ApiKey.objects.get(name="Till")
    assert (row.budget_micros, row.budget_period, row.mode) == (2_500_000, "monthly", "live")
    assert (row.allowed_models, row.scopes) == (["gemini-3-pro-image", "nano"], ["read", "generate"])
    assert (row.requests_per_minute, row.concurrency, row.max_n, row.max_references) == (30, 4, 3, 0)
    assert (row.max_image_size, row.is_grounding_allowed) == ("2K", False)
    assert row.ip_list == ["10.0.0.0/8", "2001:db8::1"]
    assert found["budget_micros"] == 2_500_000 and found["key"].startswith("nbp_live_")


def test_a_day_is_valid_until_it_ends_and_a_moment_exactly(account: Account) -> None:
    cases = {
        "2099-12-31": datetime(2100, 1, 1, tzinfo=UTC),
        "2099-12-31T18:00": datetime(2099, 12, 31, 18, tzinfo=UTC),
        "2099-12-31T18:00:00+02:00": datetime(2099, 12, 31, 16, tzinfo=UTC),
    }
    for text, moment in cases.items():
        run("create_api_key", "--account", account.public_id, "--mode", "test", "--name", text, "--expires", text)
        assert ApiKey.objects.get(name=text).expires_at == moment


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--account", "acc_00000000000000000000000000"], "There is no account"),
        (["--account", "nobody@example.com"], "There is no account"),
        (["--name", "  "], "name"),
        (["--budget-usd", "-1"], "--budget-usd"),
        (["--budget-usd", "nan"], "--budget-usd"),
        (["--budget-usd", "1.0000001"], "--budget-usd"),
        (["--expires", "2020-01-01"], "in the past"),
        (["--expires", "tomorrow"], "write a day"),
        (["--expires", "9999-12-31"], "write a day"),
        (["--scopes", "generate,sudo"], "sudo"),
        (["--scopes", ","], "none"),
        (["--ip-list", "10.0.0.0/8,kitchen"], "kitchen"),
        (["--max-n", "0"], "--max-n"),
        (["--requests-per-minute", "-3"], "--requests-per-minute"),
        (["--concurrency", "99999999999"], "--concurrency"),
        (["--max-image-size", "8K"], "8K"),
        (["--mode", "real"], "real"),
    ],
)
def test_no_key_with_limits_that_are_none(account: Account, words: list[str], reason: str) -> None:
    start = ["--account", account.public_id, "--mode", "live", "--name", "Till"]
    assert reason in refused("create_api_key", *start, *words)
    assert not ApiKey.objects.exists()


# --- credit ---------------------------------------------------------------------------------------------------------


def test_credit_is_granted_to_the_micro(account: Account) -> None:
    found = run("grant_credit", "--account", account.public_id, "--usd", "123456789.123456", "--reason", "a prize")
    entry = Entry.objects.get(reason="a prize")
    assert entry.amount_micros == found["amount_micros"] == found["available_micros"] == 123_456_789_123_456
    assert (found["id"], entry.kind, entry.wallet.mode, entry.actor) == (
        entry.public_id,
        "grant",
        "live",
        "command line",
    )


def test_an_idempotency_key_grants_once(account: Account) -> None:
    words = ["--account", "owner@example.com", "--usd", "5", "--reason", "x", "--idempotency-key", "june"]
    first, second = run("grant_credit", *words), run("grant_credit", *words)
    assert (first["is_replay"], second["is_replay"], second["id"]) == (False, True, first["id"])
    assert Wallet.objects.get(account=account, mode="live").available_micros == 5_000_000
    assert "another grant" in refused("grant_credit", *words, "--usd", "6")
    assert "another grant" in refused("grant_credit", *words, "--mode", "test")
    assert Wallet.objects.get(account=account, mode="live").available_micros == 5_000_000


@pytest.mark.parametrize(
    "usd",
    ["0", "0.000000", "-5", "+5", "NaN", "inf", "1e2", "1234567890", "1.2345678", "1,50", "1_000", "", ".5", "5."],
)
def test_an_amount_that_is_none_is_refused(account: Account, usd: str) -> None:
    before = Entry.objects.count()
    assert "--usd" in refused("grant_credit", "--account", account.public_id, f"--usd={usd}", "--reason", "x")
    assert Entry.objects.count() == before


def test_a_grant_needs_a_reason(account: Account) -> None:
    assert "reason" in refused("grant_credit", "--account", account.public_id, "--usd", "5", "--reason", " ")


def test_words_for_people(account: Account) -> None:
    out = io.StringIO()
    call_command("grant_credit", "--account", account.public_id, "--usd", "5", "--reason", "x", stdout=out)
    assert out.getvalue().startswith("Granted: $5.00 to acc_") and "Available now: $5.00." in out.getvalue()
    out = io.StringIO()
    call_command("create_api_key", "--account", account.public_id, "--mode", "test", "--name", "Till", stdout=out)
    assert "nbp_test_" in out.getvalue() and not out.getvalue().startswith("{")


# --- channels -------------------------------------------------------------------------------------------------------


def check(*arguments: str) -> tuple[int, dict[str, Any]]:
    """The exit code of check_channels, and its answer."""
    out = io.StringIO()
    code = 0
    try:
        call_command("check_channels", *arguments, "--json", stdout=out)
    except SystemExit as end:
        code = int(end.code or 0)
    return code, json.loads(out.getvalue())


def live_channel(**fields: Any) -> Channel:
    row = Channel(name="Road", kind="gemini", mode="live", **fields)
    row.set_secret("a-secret-of-the-road")
    row.save()
    return row


def test_a_mode_without_a_ready_channel_is_a_failure() -> None:
    assert check()[0] == 1
    assert check()[1]["modes_without_channel"] == ["live"]
    assert check("--mode", "test")[0] == 0
    row = live_channel()
    assert check()[0] == 0
    reasons = {
        "switched off": {"is_enabled": False},
        "disabled: unauthorized": {"is_enabled": True, "disabled_reason": "unauthorized"},
        "cooling until": {"disabled_reason": "", "cool_until": datetime.now(UTC) + timedelta(minutes=1)},
        "no credentials": {"cool_until": None, "sealed_secret": ""},
        "do not open": {"sealed_secret": "k1:AAAA"},
        "no adapter": {"kind": "pigeon"},
    }
    for words, fields in reasons.items():
        Channel.objects.filter(pk=row.pk).update(**fields)
        code, found = check("--mode", "live")
        assert code == 1 and words in found["channels"][0]["state"], words


def test_a_probe_makes_one_real_call_and_stores_nothing() -> None:
    with FakeGemini(cached=True) as fake:
        live_channel(base_url=fake.base_url, upstream_models={"gemini-3-pro-image": "gemini-3.1-flash-lite-image"})
        code, found = check("--probe")
        assert code == 0 and len(fake.requests) == 1
        assert "gemini-3.1-flash-lite-image" in fake.requests[0].path
        assert {each["name"]: each["probe"]["is_ok"] for each in found["channels"]} == {"Road": True, "sandbox": True}
        assert "1024 x 1024" in found["channels"][0]["probe"]["detail"]
        fake.script.append(Fault("503"))
        code, found = check("--probe", "--mode", "live")
        assert code == 1 and found["channels"][0]["probe"]["detail"].startswith("busy (503)")
        assert "a-secret-of-the-road" not in json.dumps(found)
    assert not Attempt.objects.exists() and not Entry.objects.exists()
    row = Channel.objects.get(name="Road")
    assert (row.failures_in_a_row, row.last_error) == (0, "")


def test_a_probe_leaves_no_file(settings: Any) -> None:
    found = probing.probe(Channel.objects.get(name="sandbox"))
    assert found.is_ok and found.seconds > 0
    assert [path for path in Path(settings.NBP_SPOOL_DIR).rglob("*") if path.is_file()] == []


def test_a_probe_that_may_not_call_only_looks() -> None:
    row = live_channel(base_url="http://127.0.0.1:9")
    assert probing.probe(row, is_calling=False) == probing.ProbeResult(True, 0.0, "configured")
    row.sealed_secret = ""
    assert probing.probe(row, is_calling=False).detail == "no credentials"


def test_the_command_line_answers_one_and_says_why(tmp_path: Path) -> None:
    """In a process of its own on a new, empty database: exit code 1, the reason on standard error, nothing else."""
    words = [sys.executable, "manage.py", "create_account", "--email", "ann@example.com", "--json"]
    env = os.environ | {
        "NBP_DATA_DIR": str(tmp_path),
        "DATABASE_URL": "",
        "DJANGO_SETTINGS_MODULE": "nbp_site.settings",
    }
    ended = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("CommandError:") and "manage.py migrate" in ended.stderr
    assert "Traceback" not in ended.stderr
