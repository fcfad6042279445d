"""Bad input gets a clear error, and nothing is lost: no generation, no hold, no file, and the field at fault is named."""

from __future__ import annotations

import base64
import io
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from PIL import Image

from accounts import keys
from accounts.ledger.models import Hold, Wallet
from accounts.models import Account, ApiKey
from generation.models import Generation, Price

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("audited")]


def _png(width: int = 64, height: int = 64) -> bytes:
    file = io.BytesIO()
    Image.effect_noise((width, height), 50).save(file, "PNG")
    return file.getvalue()


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bomb() -> bytes:
    """81 megapixels in some kilobytes."""
    file = io.BytesIO()
    Image.new("1", (9000, 9000)).save(file, "PNG", optimize=True)
    return file.getvalue()


PNG = _png()
INPUTS: list[tuple[str, dict[str, Any], str, str | None]] = [
    ("no prompt", {}, "invalid_request", "prompt"),
    ("empty prompt", {"prompt": ""}, "prompt_empty", "prompt"),
    ("blank prompt", {"prompt": " \n\t"}, "prompt_empty", "prompt"),
    ("prompt is a number", {"prompt": 5}, "invalid_request", "prompt"),
    ("prompt is null", {"prompt": None}, "invalid_request", "prompt"),
    ("prompt is a list", {"prompt": ["a"]}, "invalid_request", "prompt"),
    ("prompt with NUL", {"prompt": "a\x00b"}, "prompt_invalid", "prompt"),
    ("prompt with half a surrogate pair", {"prompt": "a\ud800b"}, "prompt_invalid", "prompt"),
    ("prompt too long", {"prompt": "x" * 60_001}, "prompt_too_long", "prompt"),
    ("unknown field", {"prompt": "x", "sise": "2K"}, "unknown_field", "sise"),
    ("mass assignment", {"prompt": "x", "price_micros": 0}, "unknown_field", "price_micros"),
    ("unknown model", {"prompt": "x", "model": "dall-e-9"}, "model_not_found", "model"),
    ("unknown size", {"prompt": "x", "image_size": "8K"}, "image_size_not_supported", "image_size"),
    ("lower-case size", {"prompt": "x", "image_size": "2k"}, "image_size_not_supported", "image_size"),
    (
        "a size the model lacks",
        {"prompt": "x", "model": "gemini-3.1-flash-lite-image", "image_size": "4K"},
        "image_size_not_supported",
        "image_size",
    ),
    (
        "price not set, 2K",
        {"prompt": "x", "model": "gemini-nano-banana-2.1", "image_size": "2K"},
        "price_not_set",
        "image_size",
    ),
    (
        "price not set, 4K",
        {"prompt": "x", "model": "gemini-nano-banana-2.1", "image_size": "4K"},
        "price_not_set",
        "image_size",
    ),
    ("unknown ratio", {"prompt": "x", "aspect_ratio": "7:5"}, "aspect_ratio_not_supported", "aspect_ratio"),
    ("n is zero", {"prompt": "x", "n": 0}, "n_out_of_range", "n"),
    ("n is negative", {"prompt": "x", "n": -1}, "n_out_of_range", "n"),
    ("n is too large", {"prompt": "x", "n": 11}, "n_out_of_range", "n"),
    ("n is text", {"prompt": "x", "n": "2"}, "invalid_request", "n"),
    ("n is true", {"prompt": "x", "n": True}, "invalid_request", "n"),
    ("n is a fraction", {"prompt": "x", "n": 1.5}, "invalid_request", "n"),
    ("n is huge", {"prompt": "x", "n": 2**63}, "n_out_of_range", "n"),
    ("seed is negative", {"prompt": "x", "seed": -1}, "invalid_request", "seed"),
    ("seed is huge", {"prompt": "x", "seed": 2**40}, "invalid_request", "seed"),
    ("grounding is text", {"prompt": "x", "search_grounding": "yes"}, "invalid_request", "search_grounding"),
    (
        "grounding the model lacks",
        {"prompt": "x", "model": "gemini-2.5-flash-image", "search_grounding": True},
        "not_supported",
        "search_grounding",
    ),
    ("thinking level", {"prompt": "x", "thinking_level": "extreme"}, "not_supported", "thinking_level"),
    ("metadata is a list", {"prompt": "x", "metadata": []}, "invalid_request", "metadata"),
    ("metadata with NUL", {"prompt": "x", "metadata": {"a": "b\x00"}}, "invalid_request", "metadata.a"),
    (
        "too much metadata",
        {"prompt": "x", "metadata": {str(each): "x" for each in range(21)}},
        "invalid_request",
        "metadata",
    ),
    ("tags with NUL", {"prompt": "x", "tags": ["a\x00"]}, "invalid_request", "tags[0]"),
    ("15 references", {"prompt": "x", "references": [{"data": _b64(PNG)}] * 15}, "too_many_references", "references"),
    (
        "6 subjects",
        {"prompt": "x", "references": [{"data": _b64(PNG), "role": "subject"}] * 6},
        "too_many_subjects",
        "references",
    ),
    (
        "unknown role",
        {"prompt": "x", "references": [{"data": _b64(PNG), "role": "hero"}]},
        "invalid_request",
        "references[0].role",
    ),
    ("a reference of nothing", {"prompt": "x", "references": [{}]}, "invalid_request", "references[0]"),
    (
        "a reference of two things",
        {"prompt": "x", "references": [{"data": _b64(PNG), "url": "http://a.example/b.png"}]},
        "invalid_request",
        "references[0]",
    ),
    (
        "a reference with an unknown field",
        {"prompt": "x", "references": [{"data": _b64(PNG), "weight": 1}]},
        "unknown_field",
        "references[0].weight",
    ),
    ("not base64", {"prompt": "x", "references": [{"data": "&&&&"}]}, "invalid_request", "references[0].data"),
    (
        "not an image",
        {"prompt": "x", "references": [{"data": _b64(b"<svg xmlns='x'/>")}]},
        "reference_not_decodable",
        "references[0]",
    ),
    (
        "a truncated image",
        {"prompt": "x", "references": [{"data": _b64(PNG)}, {"data": _b64(PNG[: len(PNG) // 2])}]},
        "reference_not_decodable",
        "references[1]",
    ),
    (
        "a decompression bomb",
        {"prompt": "x", "references": [{"data": _b64(_bomb())}]},
        "reference_not_decodable",
        "references[0]",
    ),
    (
        "a file that was not sent",
        {"prompt": "x", "references": [{"file": "cat"}]},
        "file_not_found",
        "references[0].file",
    ),
    (
        "an output that is not there",
        {"prompt": "x", "references": [{"output": "out_nothing"}]},
        "output_not_found",
        "references[0]",
    ),
    (
        "previous that is not there",
        {"prompt": "x", "previous": "gen_01k00000000000000000000000"},
        "output_not_found",
        "previous",
    ),
    (
        "a private address",
        {"prompt": "x", "references": [{"url": "http://169.254.169.254/latest/meta-data"}]},
        "reference_forbidden_address",
        "references[0].url",
    ),
    (
        "loopback in octal",
        {"prompt": "x", "references": [{"url": "http://0177.0.0.1/a.png"}]},
        "reference_forbidden_address",
        "references[0].url",
    ),
    (
        "a file address",
        {"prompt": "x", "references": [{"url": "file:///etc/passwd"}]},
        "reference_forbidden_address",
        "references[0].url",
    ),
]


@pytest.mark.parametrize(("body", "code", "param"), [each[1:] for each in INPUTS], ids=[each[0] for each in INPUTS])
def test_a_bad_field_is_named_and_leaves_no_trace(
    api: Any, alice: Any, queue: Any, tmp_path: Path, body: dict[str, Any], code: str, param: str | None
) -> None:
    response = api(alice, "POST", "generations", body)
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (400, code, param), error
    assert error["message"]
    assert error["type"] == "invalid_request_error"
    assert error["billed"] is False
    assert error["request_id"] == response["X-Request-Id"]
    assert (Generation.objects.count(), Hold.objects.count(), queue.sent) == (0, 0, [])
    assert not list(tmp_path.rglob("*.png"))


BODIES = {
    "not JSON": b"{",
    "empty": b"",
    "a list": b"[]",
    "a text": b'"prompt"',
    "null": b"null",
    "NaN": b'{"prompt": "x", "n": NaN}',
    "infinity": b'{"prompt": "x", "n": Infinity}',
    "1e999": b'{"prompt": "x", "n": 1e999}',
    "a number of 5,000 digits": b'{"prompt": "x", "n": ' + b"9" * 5000 + b"}",
    "nested 100,000 deep": b'{"prompt": "x", "metadata": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "nested 50 deep": b'{"prompt": "x", "metadata": ' + b"[" * 50 + b"]" * 50 + b"}",
    "not UTF-8": b'{"prompt": "\xff\xfe"}',
    "a name twice": b'{"prompt": "x", "prompt": "y"}',
}


@pytest.mark.parametrize("raw", BODIES.values(), ids=BODIES)
def test_a_body_that_is_not_sound_json_is_a_400(api: Any, alice: Any, raw: bytes) -> None:
    response = api(alice, "POST", "generations", raw=raw)
    assert response.status_code == 400, response.content
    assert response.json()["error"]["message"]
    assert Generation.objects.count() == 0


def test_a_huge_body_is_a_413(api: Any, alice: Any, settings: Any) -> None:
    settings.NBP_MAX_BODY_BYTES = 1000
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000
    response = api(alice, "POST", "generations", {"prompt": "x" * 2000})
    assert (response.status_code, response.json()["error"]["code"]) == (413, "body_too_large")


def test_too_many_files_are_a_413_in_the_doors_format(alice: Any) -> None:
    files = {f"file{number}": io.BytesIO(PNG) for number in range(21)}
    response = Client().post("/api/v1/generations", {"prompt": "x"} | files, headers=alice.headers())
    assert (response.status_code, response.json()["error"]["code"]) == (413, "body_too_large")


def test_another_content_type_is_a_415(api: Any, alice: Any) -> None:
    response = api(alice, "POST", "generations", raw=b"prompt=x", content_type="text/plain")
    assert (response.status_code, response.json()["error"]["code"]) == (415, "unsupported_media_type")


def test_no_credit_is_a_402(api: Any, bob: Any, tmp_path: Path) -> None:
    response = api(bob, "POST", "generations", {"prompt": "x", "references": [{"data": _b64(PNG)}]})
    assert not list(tmp_path.rglob("*.png"))
    assert (response.status_code, response.json()["error"]["code"]) == (402, "insufficient_credit")
    assert response["X-Should-Retry"] == "false"
    assert Generation.objects.count() == 0


def test_a_spent_budget_is_a_402(api: Any, alice: Any, queue: Any) -> None:
    ApiKey.objects.filter(pk=alice.keys["test"].api_key.pk).update(budget_micros=200_000)
    assert api(alice, "POST", "generations", {"prompt": "x"}).status_code == 202
    response = api(alice, "POST", "generations", {"prompt": "x"})
    assert (response.status_code, response.json()["error"]["code"]) == (402, "budget_exceeded")
    queue.run()
    assert api(alice, "GET", "wallet").json()["budget"]["spent_micros"] == 147_400


def test_no_live_channel_is_a_503_that_says_how_to_mend_it(api: Any, alice: Any) -> None:
    response = api(alice, "POST", "generations", {"prompt": "x"}, mode="live")
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (503, "no_channel_configured")
    assert "GEMINI_API_KEY" in error["message"]


NOW = datetime.now(UTC)
KEYS: dict[str, tuple[dict[str, Any], int, str]] = {
    "revoked": ({"revoked_at": NOW}, 401, "api_key_revoked"),
    "expired": ({"expires_at": NOW - timedelta(seconds=1)}, 401, "api_key_expired"),
    "disabled": ({"disabled_at": NOW}, 401, "api_key_disabled"),
    "from another address": ({"ip_list": ["10.0.0.0/8"]}, 403, "ip_not_allowed"),
    "without the scope": ({"scopes": ["read"]}, 403, "scope_missing"),
    "for another model": ({"allowed_models": ["gemini-2.5-flash-image"]}, 403, "not_allowed_for_key"),
    "for fewer images": ({"max_n": 1}, 403, "not_allowed_for_key"),
    "for fewer references": ({"max_references": 0}, 403, "not_allowed_for_key"),
    "without grounding": ({"is_grounding_allowed": False}, 403, "not_allowed_for_key"),
    "with one place": ({"concurrency": 1}, 429, "concurrency_limit"),
}


@pytest.mark.parametrize(("limits", "status", "code"), KEYS.values(), ids=KEYS)
def test_what_a_key_may_not_do(api: Any, alice: Any, limits: dict[str, Any], status: int, code: str) -> None:
    ApiKey.objects.filter(pk=alice.keys["test"].api_key.pk).update(**limits)
    body = {"prompt": "x", "n": 2, "search_grounding": True, "references": [{"data": _b64(PNG)}]}
    response = api(alice, "POST", "generations", body)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert Hold.objects.count() == 0


def test_a_default_size_is_lowered_to_what_the_key_may_ask_for(api: Any, alice: Any, queue: Any) -> None:
    ApiKey.objects.filter(pk=alice.keys["test"].api_key.pk).update(max_image_size="1K")
    response = api(alice, "POST", "generations", {"prompt": "x"})
    assert (response.status_code, response.json()["image_size"]) == (202, "1K")
    assert api(alice, "POST", "generations", {"prompt": "x", "image_size": "2K"}).status_code == 403
    queue.run()


def test_an_empty_idempotency_key_is_a_mistake(api: Any, alice: Any) -> None:
    response = api(alice, "POST", "generations", {"prompt": "x"}, headers={"Idempotency-Key": ""})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "Idempotency-Key")


def test_a_trailing_slash_and_a_bad_host_answer_in_the_doors_format(alice: Any) -> None:
    client = Client(enforce_csrf_checks=True)
    slash = client.post(
        "/api/v1/generations/", {"prompt": "x"}, content_type="application/json", headers=alice.headers()
    )
    assert (slash.status_code, slash.json()["error"]["code"]) == (404, "not_found")
    host = client.get("/api/v1/wallet", headers=alice.headers(), SERVER_NAME="evil.example")
    assert (host.status_code, host.json()["error"]["code"]) == (400, "invalid_request")


def test_an_image_whose_file_is_gone_is_said_to_be_gone(api: Any, alice: Any, queue: Any) -> None:
    from django.core.files.storage import default_storage

    from generation import media
    from generation.models import Media

    made = api(alice, "POST", "generations", {"prompt": "x", "image_size": "1K"}).json()
    queue.run()
    output = api(alice, "GET", f"generations/{made['id']}").json()["outputs"][0]
    stored = Media.objects.get()
    kept = media.read(stored.storage_name)
    default_storage.delete(stored.storage_name)
    by_key = api(alice, "GET", f"outputs/{output['id']}/content")
    by_link = Client().get(output["url"].removeprefix("http://testserver"))
    assert [(each.status_code, each.json()["error"]["code"]) for each in (by_key, by_link)] == [(410, "image_gone")] * 2
    for body in ({"references": [{"output": output["id"]}]}, {"previous": output["id"]}):
        response = api(alice, "POST", "generations", {"prompt": "y"} | body)
        assert (response.status_code, response.json()["error"]["code"]) == (400, "image_gone")
    media.store(stored.storage_name, kept)


def test_a_listed_address_passes(api: Any, alice: Any) -> None:
    ApiKey.objects.filter(pk=alice.keys["test"].api_key.pk).update(ip_list=["127.0.0.0/8", "::1"])
    assert api(alice, "GET", "wallet").status_code == 200


def _with_key(raw: str | None) -> Any:
    headers = {} if raw is None else {"authorization": raw}
    return Client().get("/api/v1/wallet", headers=headers)


def test_a_bad_key_is_a_401(alice: Any) -> None:
    raw = alice.keys["test"].raw
    other = keys.issue(account=alice.account, mode="test", name="other").raw
    mixed = raw[:22] + other[22:]
    for bad in (
        None,
        "",
        "Bearer",
        "Bearer x",
        f"Basic {raw}",
        f"Bearer {raw[:-1]}",
        f"Bearer {raw}x",
        f"Bearer {mixed}",
        f"Bearer {raw.replace('test', 'live')}",
        "Bearer nbp_test_\u00e9".encode().decode("latin-1"),
    ):
        response = _with_key(bad)
        assert response.status_code == 401, bad
        assert response["WWW-Authenticate"].startswith("Bearer")
        assert response.json()["error"]["type"] == "authentication_error"
    assert _with_key(f"bearer {raw}").status_code == 200


def test_guessing_keys_is_slowed_down(alice: Any, settings: Any) -> None:
    settings.NBP_REFUSED_KEYS_PER_MINUTE = 3
    client = Client(REMOTE_ADDR="192.0.2.77")
    statuses = [
        client.get("/api/v1/wallet", headers={"authorization": "Bearer nbp_test_x"}).status_code for _ in range(5)
    ]
    assert statuses == [401, 401, 401, 429, 429]
    assert client.get("/api/v1/wallet", headers=alice.headers()).status_code == 200


def test_a_session_cookie_is_no_credential_here(alice: Any) -> None:
    client = Client()
    client.force_login(alice.user)
    assert client.get("/api/v1/wallet").status_code == 401


def test_a_suspended_account_may_do_nothing(api: Any, alice: Any) -> None:
    Account.objects.filter(pk=alice.account.pk).update(status="suspended")
    response = api(alice, "GET", "wallet")
    assert (response.status_code, response.json()["error"]["code"]) == (403, "account_suspended")


def test_the_secret_is_nowhere_in_the_database(alice: Any) -> None:
    row = alice.keys["test"].api_key
    secret = alice.keys["test"].raw.split("_")[3]
    assert all(secret[:20] not in str(value) for value in ApiKey.objects.filter(pk=row.pk).values()[0].values())
    assert secret not in repr(alice.keys["test"])


def test_a_rotated_key_and_its_successor_both_work_for_a_while(api: Any, alice: Any) -> None:
    old = alice.keys["test"]
    new = keys.rotate(old.api_key, now=datetime.now(UTC))
    assert _with_key(f"Bearer {old.raw}").status_code == 200
    assert _with_key(f"Bearer {new.raw}").status_code == 200
    ApiKey.objects.filter(pk=old.api_key.pk).update(expires_at=datetime.now(UTC))
    assert _with_key(f"Bearer {old.raw}").status_code == 401
    assert _with_key(f"Bearer {new.raw}").status_code == 200


def test_rotating_is_no_way_to_spend_a_budget_twice(api: Any, alice: Any, queue: Any) -> None:
    ApiKey.objects.filter(pk=alice.keys["test"].api_key.pk).update(budget_micros=200_000)
    alice.keys["test"].api_key.refresh_from_db()
    assert api(alice, "POST", "generations", {"prompt": "x"}).status_code == 202
    alice.keys["test"] = keys.rotate(alice.keys["test"].api_key, now=datetime.now(UTC))
    response = api(alice, "POST", "generations", {"prompt": "x"})
    assert (response.status_code, response.json()["error"]["code"]) == (402, "budget_exceeded")
    queue.run()
    assert api(alice, "GET", "wallet").json()["budget"]["spent_micros"] == 147_400


def test_a_full_queue_is_a_429_and_holds_nothing(api: Any, alice: Any, settings: Any, queue: Any) -> None:
    settings.NBP_ACCOUNT_QUEUE_CAP = 2
    assert api(alice, "POST", "generations", {"prompt": "x", "n": 2}).status_code == 202
    response = api(alice, "POST", "generations", {"prompt": "x"})
    assert (response.status_code, response.json()["error"]["code"], response["Retry-After"]) == (
        429,
        "too_many_unfinished",
        "10",
    )
    assert Wallet.objects.get(account=alice.account, mode="test").held_micros == 2 * 147_400
    queue.run()


def test_a_model_without_any_price_is_not_listed_with_sizes_and_not_served(api: Any, alice: Any) -> None:
    Price.objects.filter(image_model_id="gemini-2.5-flash-image").delete()
    listed = {each["id"]: each["sizes"] for each in api(alice, "GET", "models").json()["data"]}
    assert listed["gemini-2.5-flash-image"] == []
    response = api(alice, "POST", "generations", {"prompt": "x", "model": "gemini-2.5-flash-image"})
    assert response.json()["error"]["code"] == "price_not_set"


def test_a_model_past_its_end_is_refused(api: Any, alice: Any) -> None:
    from generation.models import ImageModel

    ImageModel.objects.filter(name="gemini-2.5-flash-image").update(shutdown_on="2026-01-01")
    response = api(alice, "POST", "generations", {"prompt": "x", "model": "gemini-2.5-flash-image"})
    assert (response.status_code, response.json()["error"]["code"]) == (400, "model_not_available")
