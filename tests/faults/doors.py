"""Knocks at the product's doors as a person would: the API with a key, the site with a session."""

from __future__ import annotations

import json
from typing import Any

from django.test import Client

_API = Client()


def ask(
    person: Any,
    method: str,
    path: str,
    body: Any = None,
    *,
    mode: str = "test",
    raw: bytes | None = None,
    headers: dict[str, str] | None = None,
    content_type: str = "application/json",
    **environ: Any,
) -> Any:
    """An answer of the API; `person` is None for nobody. Streams are not read."""
    sent = person.headers(mode) if person is not None else {}
    data = raw if raw is not None else json.dumps(body).encode() if body is not None else b""
    return _API.generic(
        method, f"/api/v1/{path}", data, content_type=content_type, headers=sent | (headers or {}), **environ
    )


def code_of(answer: Any) -> tuple[int, str]:
    """(status, error code) of a refusal."""
    return answer.status_code, answer.json()["error"]["code"]


def signed_in(user: Any, **options: Any) -> Client:
    """The site as this user sees it."""
    browser = Client(**options)
    browser.force_login(user)
    return browser


def switched(browser: Client, mode: str) -> Client:
    """The same, with the Test/Live switch turned, and what the site said to that read."""
    assert browser.post("/mode/", {"mode": mode}).status_code == 302
    browser.get("/wallet/")
    return browser
