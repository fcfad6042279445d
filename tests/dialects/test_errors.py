"""Every refusal leaves in the words of the door that was knocked at, with what stops its SDKs from sending again."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.test import Client, override_settings

from accounts.ledger import adjustments
from accounts.ledger.models import Wallet
from accounts.models import Account
from generation.channels.models import Channel
from generation.dialects.ai_gateway import urls as gateway_urls
from generation.dialects.gemini import urls as gemini_urls
from generation.dialects.openai import urls as openai_urls
from generation.models import Generation
from tests.conftest import limited

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("audited")]
Ask = Callable[..., Any]
LANGUAGE = {"ai-language-model-specification-version": "4", "ai-language-model-id": "google/gemini-3-pro-image"}
# Door -> its path for a generation, a body, its headers.
DOORS: dict[str, tuple[str, dict[str, Any], dict[str, str]]] = {
    "openai": ("/openai/v1/images/generations", {"prompt": "x"}, {}),
    "root": ("/v1/images/generations", {"prompt": "x"}, {}),
    "openrouter": (
        "/openrouter/api/v1/chat/completions",
        {"messages": [{"role": "user", "content": "x"}]},
        {},
    ),
    "gemini": (
        "/gemini/v1beta/models/gemini-3-pro-image:generateContent",
        {"contents": [{"parts": [{"text": "x"}]}]},
        {},
    ),
    "gateway": (
        "/ai-gateway/v4/ai/language-model",
        {"prompt": [{"role": "user", "content": "x"}]},
        LANGUAGE,
    ),
}


@pytest.fixture
def ask(transactional_db: None) -> Ask:
    """ask(door, person, ...) sends what makes an image there, but for what the test changes."""
    client = Client()

    def send(
        door: str,
        person: Any = None,
        *,
        path: str = "",
        body: Any = None,
        method: str = "POST",
        mode: str = "test",
        content_type: str = "application/json",
        **headers: str,
    ) -> Any:
        own_path, own_body, own_headers = DOORS[door]
        key = person.headers(mode) if person is not None else {}
        data = body if isinstance(body, bytes) else json.dumps(own_body if body is None else body).encode()
        sent = own_headers | key | {name.replace("_", "-"): value for name, value in headers.items()}
        return client.generic(method, path or own_path, data, content_type=content_type, headers=sent)

    return send


def _said(door: str, response: Any) -> tuple[int, str]:
    """Status and code of an error, after its form was checked."""
    error = response.json()["error"]
    assert error["message"]
    if door in ("openai", "root"):
        assert set(error) == {"message", "type", "param", "code"}
        is_worth_it = response.status_code in (409, 429, 500, 503) or error["code"] == "still_running"
        assert response["x-should-retry"] == str(is_worth_it).lower()
        return response.status_code, error["code"]
    if door == "openrouter":
        assert error["code"] == response.status_code
        return response.status_code, error["metadata"]["code"]
    if door == "gemini":
        assert error["code"] == response.status_code
        assert error["status"].isupper()
        return response.status_code, error["details"][0]["reason"].lower()
    assert set(error) == {"message", "type", "param", "code"}
    return response.status_code, error["code"]


def _expect(door: str, response: Any, status: int, code: str) -> None:
    words = {"openai": OPENAI, "root": OPENAI}.get(door, {})
    assert _said(door, response) == (status, words.get(code, code)), response.content


OPENAI = {
    "api_key_missing": "invalid_api_key",
    "insufficient_credit": "insufficient_quota",
    "wallet_frozen": "insufficient_quota",
    "spending_limit_exceeded": "insufficient_quota",
    "budget_exceeded": "insufficient_quota",
}
every_door = pytest.mark.parametrize("door", DOORS)


@every_door
def test_no_key_and_a_wrong_one_are_401(ask: Ask, door: str) -> None:
    _expect(door, ask(door), 401, "api_key_missing")
    _expect(door, ask(door, authorization="Bearer nbp_test_wrong"), 401, "invalid_api_key")


@every_door
def test_no_money_and_no_budget_are_402(ask: Ask, door: str, alice: Any, bob: Any) -> None:
    _expect(door, ask(door, bob), 402, "insufficient_credit")
    limited(alice, budget_micros=1)
    _expect(door, ask(door, alice), 402, "budget_exceeded")
    limited(alice, budget_micros=None)
    adjustments.set_spending_limit(account=alice.account, mode="test", limit_micros=1, now=datetime.now(UTC))
    _expect(door, ask(door, alice), 402, "spending_limit_exceeded")
    Wallet.objects.filter(account=alice.account).update(status="frozen")
    _expect(door, ask(door, alice), 402, "wallet_frozen")
    assert Generation.objects.count() == 0


@every_door
def test_what_a_key_may_not_do_is_403(ask: Ask, door: str, alice: Any) -> None:
    limited(alice, allowed_models=["gemini-2.5-flash-image"])
    _expect(door, ask(door, alice), 403, "not_allowed_for_key")
    limited(alice, allowed_models=[], scopes=["read"])
    _expect(door, ask(door, alice), 403, "scope_missing")
    Account.objects.filter(pk=alice.account.pk).update(status=Account.Status.SUSPENDED)
    _expect(door, ask(door, alice), 403, "account_suspended")


@every_door
def test_unknown_routes_and_methods_are_404_and_405(ask: Ask, door: str, alice: Any) -> None:
    prefix = "/".join(DOORS[door][0].split("/")[:3])
    _expect(door, ask(door, alice, path=f"{prefix}/nothing/here"), 404, "not_found")
    _expect(door, ask(door, alice, method="DELETE"), 405, "method_not_allowed")


@every_door
def test_bodies_that_are_none_are_400(ask: Ask, door: str, alice: Any) -> None:
    _expect(door, ask(door, alice, body=b"{"), 400, "invalid_json")
    _expect(door, ask(door, alice, body=b'{"a": NaN}'), 400, "invalid_json")
    _expect(door, ask(door, alice, body=b'{"a": 1, "a": 2}'), 400, "invalid_json")
    _expect(door, ask(door, alice, body=b"\xff"), 400, "invalid_json")
    _expect(door, ask(door, alice, body=b"[]"), 400, "invalid_request")


@every_door
def test_a_body_beyond_the_limit_is_413(ask: Ask, door: str, alice: Any) -> None:
    with override_settings(NBP_MAX_BODY_BYTES=10):
        _expect(door, ask(door, alice), 413, "body_too_large")


@every_door
def test_an_idempotency_key_that_is_used_for_something_else_is_422(ask: Ask, door: str, alice: Any, queue: Any) -> None:
    # The native door takes the key first, and this one another request under it.
    Client().post(
        "/api/v1/generations",
        {"prompt": "y"},
        content_type="application/json",
        headers=alice.headers(**{"idempotency-key": "one"}),
    )
    _expect(door, ask(door, alice, idempotency_key="one"), 422, "idempotency_key_reused")
    _expect(door, ask(door, alice, idempotency_key="x" * 300), 400, "invalid_request")
    queue.run()


@every_door
def test_too_many_requests_are_429_with_a_wait(ask: Ask, door: str, alice: Any) -> None:
    limited(alice, requests_per_minute=1, scopes=["read"])
    ask(door, alice)
    response = ask(door, alice)
    _expect(door, response, 429, "rate_limit_exceeded")
    assert int(response["retry-after"]) >= 1


@every_door
def test_no_channel_is_503(ask: Ask, door: str, alice: Any) -> None:
    Channel.objects.update(is_enabled=False)
    _expect(door, ask(door, alice), 503, "no_channel_configured")
    Channel.objects.update(is_enabled=True)


@every_door
def test_a_fault_of_ours_is_500_without_its_details(
    ask: Ask, door: str, alice: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("a secret")

    monkeypatch.setattr("generation.submission.accept", fail)
    response = ask(door, alice)
    _expect(door, response, 500, "internal_error")
    assert b"secret" not in response.content
    assert "a secret" in caplog.text


@every_door
def test_an_unknown_model_is_404(ask: Ask, door: str, alice: Any) -> None:
    body = DOORS[door][1]
    if door == "gemini":
        response = ask(door, alice, path="/gemini/v1beta/models/nothing:generateContent")
    elif door == "gateway":
        response = ask(door, alice, **{"ai-language-model-id": "nothing"})
    else:
        response = ask(door, alice, body=body | {"model": "nothing"})
    _expect(door, response, 404, "model_not_found")


def test_every_prefix_is_served_by_the_handler_of_the_api() -> None:
    for path, _, _ in DOORS.values():
        assert path.startswith(tuple(django_settings.NBP_API_PREFIXES))


@pytest.mark.parametrize("way", ["header", "query", "bearer"])
def test_gemini_takes_the_key_in_three_ways(ask: Ask, alice: Any, way: str) -> None:
    raw = alice.keys["test"].raw
    path = "/gemini/v1/models" + (f"?key={raw}" if way == "query" else "")
    header = {"header": {"x_goog_api_key": raw}, "query": {}, "bearer": {"authorization": f"Bearer {raw}"}}[way]
    assert ask("gemini", path=path, method="GET", **header).status_code == 200


_LETTERS = "0" * 26
_REGEXES = {
    r"^files/file-(?P<kind>results|errors)-(?P<letters>[0-9a-z]{26})$": f"files/file-results-{_LETTERS}",
    r"^files/file-(?P<kind>results|errors)-(?P<letters>[0-9a-z]{26})/content$": f"files/file-errors-{_LETTERS}/content",
    r"^files/results-(?P<letters>[0-9a-z]{26}):download$": f"files/results-{_LETTERS}:download",
    r"^files/results-(?P<letters>[0-9a-z]{26})$": f"files/results-{_LETTERS}",
    r"^(?:models/)?(?P<name>[^:]+):batchGenerateContent$": "models/x:batchGenerateContent",
    r"^(?:models/)?(?P<name>[^:]+):(?P<verb>[a-zA-Z]+)$": "models/x:generateContent",
    r"^v[134]/ai/language-model$": "v4/ai/language-model",
    r"^v[134]/ai/image-model$": "v4/ai/image-model",
    r"^v(?P<version>[134])/ai/config$": "v4/ai/config",
}


def _paths() -> list[str]:
    found = []
    for prefix, urls in (("openai/v1", openai_urls), ("gemini/v1", gemini_urls), ("ai-gateway", gateway_urls)):
        for each in urls.urlpatterns:
            pattern = str(each.pattern)
            if pattern != "^(?P<path>.*)$":
                found.append(f"/{prefix}/{_REGEXES.get(pattern) or re.sub('<[^>]+>', 'x', pattern)}")
    return found


@pytest.mark.parametrize("path", _paths())
def test_every_route_of_a_door_asks_for_a_key(ask: Ask, path: str) -> None:
    door = next(
        name for name in ("openai", "gemini", "gateway") if path.startswith(f"/{name.replace('gateway', 'ai-')}")
    )
    statuses = {ask(door, path=path, method=method).status_code for method in ("GET", "POST")}
    assert 401 in statuses
    assert statuses <= {401, 405}


@pytest.mark.parametrize("path", ["/openai/v1/images/edits", "/openai/v1/files"])
@pytest.mark.parametrize("content_type", ["multipart/form-data", "application/x-www-form-urlencoded; charset=utf-16"])
def test_forms_that_are_none_are_refused(ask: Ask, alice: Any, path: str, content_type: str) -> None:
    response = ask("openai", alice, path=path, body=b"--nothing", content_type=content_type)
    assert response.status_code in (400, 415), response.content


@pytest.mark.parametrize(
    "url", ["https://[", "https://ex\u2100mple.com/", "https://127.0.0.1/x.png", "https://x\x00y/"]
)
def test_links_that_are_none_are_refused(ask: Ask, alice: Any, url: str) -> None:
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "x"}]
    body = {"messages": [{"role": "user", "content": content}]}
    response = ask("openai", alice, path="/openai/v1/chat/completions", body=body)
    assert response.status_code == 400, response.content
    part = {"fileData": {"fileUri": url}}
    response = ask("gemini", alice, body={"contents": [{"parts": [part, {"text": "x"}]}]})
    assert response.status_code == 400, response.content


@pytest.mark.parametrize("name", ["a%00b", "%ED%A0%80", "x" * 5000])
def test_names_that_no_database_takes_are_not_found(ask: Ask, alice: Any, name: str) -> None:
    for path in (f"/openai/v1/models/{name}", f"/openai/v1/files/file-{name}", f"/gemini/v1/files/{name}"):
        assert ask("openai", alice, path=path, method="GET").status_code == 404, path
    body = {"contents": [{"parts": [{"text": "x"}]}]}
    assert ask("gemini", alice, path=f"/gemini/v1/models/{name}:generateContent", body=body).status_code == 404


def test_the_wallet_is_shown_to_keys_that_may_see_money(ask: Ask, alice: Any) -> None:
    assert ask("gateway", alice, path="/v1/credits", method="GET").json() == {"balance": "100", "total_used": "0"}
    limited(alice, scopes=["generate", "read"])
    assert ask("gateway", alice, path="/v1/credits", method="GET").status_code == 403


@pytest.mark.parametrize("digits", ["9" * 5000, "-1", "1.5", "x"])
def test_numbers_of_forms_are_numbers(ask: Ask, alice: Any, digits: str) -> None:
    boundary = "b"
    fields = {"prompt": "x", "n": digits}
    parts = [f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n' for name, text in fields.items()]
    image = '--b\r\nContent-Disposition: form-data; name="image"; filename="x.png"\r\n\r\nx\r\n--b--\r\n'
    body = "".join([*parts, image]).encode()
    content_type = f"multipart/form-data; boundary={boundary}"
    response = ask("openai", alice, path="/openai/v1/images/edits", body=body, content_type=content_type)
    assert (response.status_code, response.json()["error"]["param"]) == (400, "n")
