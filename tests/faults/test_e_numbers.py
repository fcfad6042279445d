"""E: numbers that are none, or none we can pay with, are refused by name at every door, and move nothing."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from accounts.ledger.models import Entry, Hold
from accounts.models import ApiKey, User
from generation.models import Generation, Price

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("audited")]

_LARGE = ("9223372036854775807", "9223372036854775808", "18446744073709551616")
_OTHER_TYPES = ("1.0", "1e2", "0.5", '"1"', '""', '"NaN"', "true", "[1]", "{}")
# As they stand in a JSON body.
WRONG = {
    "n": ("-1", "0", "-0", "-9223372036854775808", "1001", "null", *_LARGE, *_OTHER_TYPES),
    "seed": ("-1", "-9223372036854775808", "2147483648", *_LARGE, *_OTHER_TYPES),
}
NOT_JSON = ("NaN", "Infinity", "-Infinity", "1e999", "-1e999", "9" * 30, "9" * 5000, "0x10", "01", "+1", ".5", "1_0")
# As they stand in a form.
WRONG_TEXTS = (
    "-1",
    "--5",
    "-",
    "+2",
    "1e2",
    "1.5",
    "NaN",
    "Infinity",
    "1e999",
    "\u0663",
    "\uff12",
    "\u00b2",
    "0x2",
    "1_0",
    "9" * 30,
    "9" * 5000,
    "true",
    "[1]",
    *_LARGE,
)
AMOUNTS = (
    "",
    "0",
    "-0",
    "0.000000",
    "0.0000001",
    "NaN",
    "sNaN",
    "Infinity",
    "-Infinity",
    "1e999",
    "1e5",
    "1E-7",
    "9223372036854775808",
    "18446744073709551616",
    "9" * 5000,
    "1234567890",
    "1,50",
    "1_000",
    "\u0663",
    "0x10",
    "$5",
    "five",
    "5\x00",
    "True",
)


def _nothing_happened() -> bool:
    return not Generation.objects.exists() and not Hold.objects.exists()


@pytest.fixture
def client() -> Client:
    """One that gets a 500 as an answer, as everybody does."""
    return Client(raise_request_exception=False)


@pytest.mark.parametrize("door", ["generations", "quotes"])
@pytest.mark.parametrize("name", WRONG)
def test_e10_a_wrong_number_in_a_body_is_a_400_that_names_the_field(
    client: Client, alice: Any, door: str, name: str
) -> None:
    for text in WRONG[name]:
        raw = f'{{"prompt": "x", "{name}": {text}}}'
        answer = client.post(f"/api/v1/{door}", raw, content_type="application/json", headers=alice.headers())
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, name), text
    assert _nothing_happened()


@pytest.mark.parametrize("door", ["generations", "quotes"])
@pytest.mark.parametrize("name", WRONG)
def test_e10_what_is_no_number_in_json_is_a_400_that_says_where(
    client: Client, alice: Any, door: str, name: str
) -> None:
    """Such a body is no JSON at all, so it has no fields to name."""
    for text in NOT_JSON:
        raw = f'{{"prompt": "x", "{name}": {text}}}'
        answer = client.post(f"/api/v1/{door}", raw, content_type="application/json", headers=alice.headers())
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["param"]) == (400, "invalid_json", None), text
        assert re.search("JSON number|number is too large|line 1, column", error["message"]), text
    assert _nothing_happened()


@pytest.mark.parametrize("door", ["generations", "quotes"])
@pytest.mark.parametrize("name", WRONG)
def test_e10_a_wrong_number_in_a_form_is_a_400_that_names_the_field(
    client: Client, alice: Any, door: str, name: str
) -> None:
    for text in WRONG_TEXTS:
        answer = client.post(f"/api/v1/{door}", {"prompt": "x", name: text}, headers=alice.headers())
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, name), text
    assert _nothing_happened()


@pytest.mark.parametrize("path", ["generations", "ledger"])
def test_e10_a_wrong_number_in_an_address_is_a_400_that_names_the_parameter(
    client: Client, alice: Any, path: str
) -> None:
    for text in ("", "0", "101", "00000000110000000000", "000000001" + "0" * 5000, *WRONG_TEXTS):
        answer = client.get(f"/api/v1/{path}", {"limit": text}, headers=alice.headers())
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "limit"), text


# --- the operator's desk -----------------------------------------------------------------------------------------


@pytest.fixture
def desk(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("operator@example.com", "correct horse battery"))
    return client


@pytest.mark.parametrize("deed", ["grant", "adjust"])
def test_e10_money_is_not_moved_by_hand_for_what_is_no_amount(desk: Client, alice: Any, deed: str) -> None:
    page, before = reverse(f"admin:accounts_account_{deed}", args=[alice.account.pk]), Entry.objects.count()
    form = {"mode": "live", "reason": "x", "once": "6f0d4cf4-6f9c-4b5c-8f0f-1d3c2a1b0c9d"}
    wrong = AMOUNTS if deed == "adjust" else (*AMOUNTS, "-5", "+5")
    for text in wrong:
        answer = desk.post(page, form | {"amount_micros": text})
        assert answer.status_code == 200, text
        assert list(answer.context["adminform"].form.errors) == ["amount_micros"], text
    assert Entry.objects.count() == before


def test_e10_a_price_that_is_no_amount_is_not_written(desk: Client, alice: Any) -> None:
    before = Price.objects.count()
    form = {
        "image_model": "gemini-3-pro-image",
        "image_size": "1K",
        "lane": "standard",
        "valid_from_0": "2027-01-01",
        "valid_from_1": "00:00:00",
        "image_micros": "0.2",
        "reference_micros": "0",
        "grounding_micros": "0",
        "input_micros_per_million_tokens": "2",
        "input_allowance_tokens": "2000",
        "markup_basis_points": "1000",
        "cached_micros": "0",
        "own_key_micros": "0",
    }
    amounts = [text for text in AMOUNTS if text not in ("0", "-0", "0.000000")]
    wrong = [("image_micros", text) for text in (*amounts, "-1")]
    counts = ("", "-1", "NaN", "1e999", "1.5", "9" * 5000, *_LARGE[1:])
    wrong += [(name, text) for name in ("markup_basis_points", "input_allowance_tokens") for text in counts]
    for name, text in wrong:
        answer = desk.post(reverse("admin:generation_price_add"), form | {name: text})
        assert answer.status_code == 200, (name, text)
        assert list(answer.context["adminform"].form.errors) == [name], (name, text)
    assert Price.objects.count() == before


def test_e10_a_key_is_not_made_with_a_budget_that_is_no_amount(client: Client, alice: Any) -> None:
    client.force_login(alice.user)
    before = ApiKey.objects.count()
    # Here a budget may be empty or nothing, and is read as people write numbers.
    taken = ("", "0", "-0", "0.000000", "1e5", "1_000", "\u0663")
    wrong = [("budget", text) for text in (*AMOUNTS, "-5", "-0.0000001") if text not in taken]
    counts = ("0", "-1", "NaN", "1e999", "1.5", "9" * 5000, *_LARGE)
    wrong += [(name, text) for name in ("requests_per_minute", "concurrency") for text in counts]
    wrong += [("expires_on", text) for text in ("0001-01-01", "2027-02-30", "NaN", "9" * 30)]
    for name, text in wrong:
        ticket = re.search('name="ticket" value="([^"]+)"', client.get("/keys/").content.decode())
        assert ticket
        form = {"name": "x", "mode": "test", "budget_period": "monthly", "ticket": ticket[1], name: text}
        answer = client.post("/keys/", form)
        assert ApiKey.objects.count() == before, (name, text)
        assert list(answer.context["form"].errors) == [name], (name, text)


def test_e10_a_key_may_last_until_the_last_day_there_is(client: Client, alice: Any) -> None:
    client.force_login(alice.user)
    ticket = re.search('name="ticket" value="([^"]+)"', client.get("/keys/").content.decode())
    assert ticket
    form = {"name": "x", "mode": "test", "budget_period": "monthly", "ticket": ticket[1], "expires_on": "9999-12-31"}
    assert client.post("/keys/", form).status_code < 500


# --- the command line --------------------------------------------------------------------------------------------


def test_e10_credit_is_not_granted_for_what_is_no_amount(alice: Any) -> None:
    before = Entry.objects.count()
    for text in (*AMOUNTS, "-5", "+5"):
        with pytest.raises(CommandError, match="--usd"):
            call_command("grant_credit", f"--account={alice.account.public_id}", f"--usd={text}", "--reason=x")
    assert Entry.objects.count() == before


def test_e10_a_key_is_not_issued_with_limits_that_are_no_numbers(alice: Any) -> None:
    before = ApiKey.objects.count()
    amounts = [text for text in (*AMOUNTS, "-5") if text not in ("0", "0.000000")]
    wrong = [("--budget-usd", text) for text in amounts if text != "-0"]
    counts = ("", "-1", "NaN", "1e999", "1.5", "9" * 5000, *_LARGE)
    names = ("--requests-per-minute", "--concurrency", "--max-n", "--max-references")
    wrong += [(name, text) for name in names for text in counts]
    for name, text in wrong:
        with pytest.raises(CommandError, match=name):
            account = f"--account={alice.account.public_id}"
            call_command("create_api_key", account, "--mode=test", "--name=x", f"{name}={text}")
    assert ApiKey.objects.count() == before


# --- nesting -----------------------------------------------------------------------------------------------------

DEEP = 100_000
NESTED = {
    "lists": "[" * DEEP + "]" * DEEP,
    "lists without an end": "[" * DEEP,
    "objects": '{"a":' * DEEP + "1" + "}" * DEEP,
    "objects without an end": '{"a":' * DEEP,
    "both": '[{"a":' * DEEP + "1" + "}]" * DEEP,
    "21 levels": "[" * 21 + "]" * 21,
    "500 levels": "[" * 500 + "]" * 500,
}


@pytest.mark.parametrize("door", ["generations", "quotes"])
@pytest.mark.parametrize("nested", NESTED.values(), ids=NESTED)
def test_e11_json_nested_beyond_reason_is_a_400_and_the_next_request_is_answered(
    client: Client, alice: Any, door: str, nested: str
) -> None:
    places = ("{}", '{{"prompt": "x", "metadata": {}}}', '{{"prompt": "x", "references": [{}]}}', '{{"prompt": {}}}')
    for place in places:
        raw = place.format(nested)
        answer = client.post(f"/api/v1/{door}", raw, content_type="application/json", headers=alice.headers())
        assert answer.status_code == 400, (place, answer.content)
        assert json.loads(answer.content)["error"]["message"]
    for name in ("metadata", "references", "tags"):
        answer = client.post(f"/api/v1/{door}", {"prompt": "x", name: nested}, headers=alice.headers())
        assert (answer.status_code, answer.json()["error"]["param"].partition("[")[0]) == (400, name)
    assert client.get("/api/v1/wallet", headers=alice.headers()).status_code == 200
    assert _nothing_happened()
