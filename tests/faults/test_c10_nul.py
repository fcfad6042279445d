"""C10: a NUL character, which PostgreSQL takes in no text, is refused at every door before it comes near a row."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import quote

import pytest
from django.test import Client
from django.urls import reverse

from accounts.ledger.models import Entry
from accounts.models import ApiKey, User
from generation.models import Generation

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("audited")]

NUL = "a\x00b"
BODIES: dict[str, dict[str, Any]] = {
    "prompt": {"prompt": NUL},
    "model": {"model": NUL},
    "aspect_ratio": {"aspect_ratio": NUL},
    "image_size": {"image_size": NUL},
    "thinking_level": {"thinking_level": NUL},
    "previous": {"previous": NUL},
    "tags[0]": {"tags": [NUL]},
    "metadata.a": {"metadata": {"a": NUL}},
    "metadata": {"metadata": {NUL: "a"}},
    "references[0].name": {"references": [{"url": "https://example.com/a.png", "name": NUL}]},
    "references[0].url": {"references": [{"url": f"https://example.com/{NUL}"}]},
    "references[0].output": {"references": [{"output": NUL}]},
    "references[0].file": {"references": [{"file": NUL}]},
    "references[0].role": {"references": [{"url": "https://example.com/a.png", "role": NUL}]},
}


@pytest.fixture
def client() -> Client:
    """One that gets a 500 as an answer, as everybody does."""
    return Client(raise_request_exception=False)


@pytest.mark.parametrize("door", ["generations", "quotes"])
@pytest.mark.parametrize(("param", "fields"), BODIES.items(), ids=BODIES)
def test_c10_a_nul_in_a_body_is_a_400_that_names_the_field(
    client: Client, alice: Any, door: str, param: str, fields: dict[str, Any]
) -> None:
    raw = json.dumps({"prompt": "x"} | fields)
    assert "\\u0000" in raw
    answer = client.post(f"/api/v1/{door}", raw, content_type="application/json", headers=alice.headers())
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert Generation.objects.count() == 0


@pytest.mark.parametrize("name", ["prompt", "model", "aspect_ratio", "image_size", "thinking_level", "previous"])
def test_c10_a_nul_in_a_form_is_a_400_that_names_the_field(client: Client, alice: Any, name: str) -> None:
    answer = client.post("/api/v1/generations", {"prompt": "x"} | {name: NUL}, headers=alice.headers())
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, name)
    assert Generation.objects.count() == 0


def test_c10_a_nul_in_a_name_of_a_field_or_a_header_is_a_400(client: Client, alice: Any) -> None:
    for headers, fields in (({}, {NUL: 1}), ({"Idempotency-Key": NUL}, {})):
        answer = client.post(
            "/api/v1/generations",
            json.dumps({"prompt": "x"} | fields),
            content_type="application/json",
            headers=alice.headers() | headers,
        )
        assert answer.status_code == 400, (headers, fields)
    assert Generation.objects.count() == 0


def test_c10_a_nul_in_an_address_is_no_fault_of_ours(client: Client, alice: Any) -> None:
    client.force_login(alice.user)
    nul = quote(NUL)
    paths = [
        f"{path}?{name}={nul}" for path in ("generations", "ledger") for name in ("limit", "cursor", "status", "kind")
    ]
    paths += [f"usage?{name}={nul}" for name in ("since", "until", "group_by")]
    paths += [f"generations/{nul}", f"generations/{nul}/events", f"outputs/{nul}", f"outputs/{nul}/content"]
    pages = [
        f"generations/{nul}/",
        f"images/{nul}/",
        f"images/?cursor={nul}",
        f"wallet/?cursor={nul}",
        f"invite/{nul}/",
    ]
    for path in (*(f"/api/v1/{each}" for each in paths), *(f"/{each}" for each in pages), f"/m/{nul}"):
        assert client.get(path, headers=alice.headers()).status_code < 500, path


@pytest.mark.parametrize("name", ["name", "mode", "budget", "budget_period", "expires_on", "allowed_models", "ip_list"])
def test_c10_a_nul_in_the_form_for_a_key_makes_no_key(client: Client, alice: Any, name: str) -> None:
    client.force_login(alice.user)
    before = ApiKey.objects.count()
    ticket = re.search('name="ticket" value="([^"]+)"', client.get("/keys/").content.decode())
    assert ticket
    form = {"name": "x", "mode": "test", "budget_period": "monthly", "ticket": ticket[1]}
    answer = client.post("/keys/", form | {name: NUL})
    assert answer.status_code < 500
    assert ApiKey.objects.count() == before


@pytest.mark.parametrize("name", ["prompt", "model", "aspect_ratio", "image_size", "previous", "key"])
def test_c10_a_nul_in_the_playground_accepts_nothing(client: Client, alice: Any, name: str) -> None:
    client.force_login(alice.user)
    for page in ("", "quote/", "options/"):
        form = {"prompt": "x", "n": "1", "image_size": "1K"} | {name: NUL}
        assert client.post(f"/playground/{page}", form).status_code < 500, page
    assert Generation.objects.count() == 0


def test_c10_a_nul_in_a_reason_moves_no_money(client: Client, alice: Any) -> None:
    client.force_login(User.objects.create_superuser("operator@example.com", "correct horse battery"))
    before = Entry.objects.count()
    form = {"mode": "live", "amount_micros": "5", "reason": NUL, "once": "6f0d4cf4-6f9c-4b5c-8f0f-1d3c2a1b0c9d"}
    answer = client.post(reverse("admin:accounts_account_grant", args=[alice.account.pk]), form)
    assert list(answer.context["adminform"].form.errors) == ["reason"]
    assert Entry.objects.count() == before
