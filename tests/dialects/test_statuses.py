"""Errors of every status, as callers of the SDKs see them; none of them costs anything."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.dialects import sdks
from tests.live.conftest import Service

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def _made(running: Service, name: str, *options: str) -> str:
    mode = ["--account", running.note["email"], "--mode", "test", "--name", name, "--json"]
    done = running.manage("create_api_key", *mode, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    return str(json.loads(done.stdout)["key"])


@pytest.fixture
def spent(running: Service) -> str:
    """A key whose one request of a minute was made a moment ago."""
    key = _made(running, "spent", "--requests-per-minute", "1")
    assert running.ask("GET", "models", headers={"authorization": f"Bearer {key}"}).status_code == 200
    return key


@pytest.fixture(scope="module")
def keys(running: Service) -> dict[str, str]:
    """A key for each status."""
    return {
        "full": running.note["test_key"],
        "wrong": "nbp_test_wrong",
        "poor": _made(running, "poor", "--budget-usd", "0.01"),
        "narrow": _made(running, "narrow", "--scopes", "read"),
        "slow": _made(running, "slow", "--requests-per-minute", "1"),
        # Nobody has given this service a key for Gemini.
        "unserved": running.note["live_key"],
    }


@pytest.fixture
def told(environment: dict[str, str], keys: dict[str, str]) -> dict[str, str]:
    return environment | {"NBP_KEYS": json.dumps(keys)}


@pytest.mark.parametrize("sdk", sdks.python_sdks("openai"))
def test_openai(sdk: str, told: dict[str, str], bought: Callable[[], int]) -> None:
    seen: dict[str, Any] = sdks.run_python(sdk, "statuses_openai.py", told)
    assert seen == {
        "big": True,
        "400": ["BadRequestError", 400, "prompt_empty"],
        "401": ["AuthenticationError", 401, "invalid_api_key"],
        "402": ["APIStatusError", 402, "insufficient_quota"],
        "403": ["PermissionDeniedError", 403, "scope_missing"],
        "404": ["NotFoundError", 404, "model_not_found"],
        "422": ["UnprocessableEntityError", 422, "idempotency_key_reused"],
        "429": ["RateLimitError", 429, "rate_limit_exceeded"],
        "503": ["InternalServerError", 503, "no_channel_configured"],
        "402 chat": ["APIStatusError", 402, "insufficient_quota"],
        "402 responses": ["APIStatusError", 402, "insufficient_quota"],
        "429 files": ["RateLimitError", 429, "rate_limit_exceeded"],
        "404 batch": ["NotFoundError", 404, "batch_not_found"],
    }
    assert 1 <= bought() <= 2, "the big one, and the one whose idempotency key was used again"


@pytest.mark.parametrize("sdk", sdks.python_sdks("google-genai"))
def test_google_genai(sdk: str, told: dict[str, str], bought: Callable[[], int]) -> None:
    seen: dict[str, Any] = sdks.run_python(sdk, "statuses_google.py", told)
    assert seen == {
        "big": True,
        "400": ["ClientError", 400, "INVALID_ARGUMENT"],
        "401": ["ClientError", 401, "UNAUTHENTICATED"],
        "402": ["ClientError", 402, "FAILED_PRECONDITION"],
        "402 stream": ["ClientError", 402, "FAILED_PRECONDITION"],
        "403": ["ClientError", 403, "PERMISSION_DENIED"],
        "404": ["ClientError", 404, "NOT_FOUND"],
        "409": ["ClientError", 409, "ABORTED"],
        "422": ["ClientError", 422, "INVALID_ARGUMENT"],
        "429": ["ClientError", 429, "RESOURCE_EXHAUSTED"],
        "503": ["ServerError", 503, "UNAVAILABLE"],
        "404 batch": ["ClientError", 404, "NOT_FOUND"],
    }
    assert 1 <= bought() <= 2


@pytest.mark.parametrize("kind", sdks.javascript_sets())
def test_javascript(
    kind: str, environment: dict[str, str], keys: dict[str, str], spent: str, bought: Callable[[], int]
) -> None:
    major = {"november-2025": 5, "previous": 6, "current": 7}[kind]
    told = environment | {"NBP_KEYS": json.dumps(keys | {"spent": spent}), "NBP_AI_MAJOR": str(major)}
    seen = sdks.run_javascript(kind, "statuses.mjs", told)
    usual = {"wrong": 401, "poor": 402, "narrow": 403, "spent": 429, "unserved": 503}
    assert {name: seen[name] for name in ("openai", "genai", "google", "router")} == dict.fromkeys(
        ("openai", "genai", "google", "router"), usual
    )
    assert 200 not in seen["gateway"].values()
    assert seen["gateway"]["spent"] == 429
    assert seen["gateway"]["wrong"] == "GatewayAuthenticationError"
    assert bought() == 0
