"""An API client that speaks as a person, with a worker that runs at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.http import HttpResponse
from django.test import Client


def streamed(response: Any) -> bytes:
    """The whole body of an answer, read as the server would if it is streamed."""
    if not response.streaming:
        return bytes(response.content)

    async def gather() -> bytes:
        return b"".join([piece async for piece in response])

    return async_to_sync(gather)()


Api = Callable[..., HttpResponse]


@pytest.fixture
def api(transactional_db: None) -> Api:
    """api(person, "POST", "generations", {...}, mode="test", headers={...}) against the whole URLconf."""
    client = Client()

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
    ) -> HttpResponse:
        sent = person.headers(mode) if person is not None else {}
        data = raw if raw is not None else json.dumps(body).encode() if body is not None else b""
        return client.generic(
            method, f"/api/v1/{path}", data, content_type=content_type, headers=sent | (headers or {})
        )

    return ask


@pytest.fixture
def body_of() -> Callable[[Any], bytes]:
    return streamed
