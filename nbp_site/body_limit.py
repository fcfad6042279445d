"""Turns bodies away that are larger than the site takes, before Django spools them to disk."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from django.conf import settings

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
# An ASGI application; the types of frameworks and servers for it differ.
Application = Callable[[Any, Any, Any], Awaitable[None]]

_BODY = json.dumps(
    {
        "error": {
            "message": "The body is too large.",
            "type": "invalid_request_error",
            "code": "body_too_large",
            "param": None,
            "request_id": "",
            "billed": False,
            "docs": "/api/v1/docs/errors#body_too_large",
        }
    }
).encode()


def with_body_limit(application: Application) -> Application:
    """The application, answering 413 itself when a body is longer than NBP_MAX_BODY_BYTES, announced or not."""

    async def limited(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await application(scope, receive, send)
        elif _announced(scope) > settings.NBP_MAX_BODY_BYTES:
            await _refuse(send)
        else:
            await application(scope, _counted(receive, send), send)

    return limited


def _announced(scope: MutableMapping[str, Any]) -> int:
    lengths = [value for name, value in scope["headers"] if name == b"content-length"]
    return int(lengths[0]) if lengths and lengths[0].isdigit() else 0


def _counted(receive: Receive, send: Send) -> Receive:
    seen = 0

    async def counting() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen <= settings.NBP_MAX_BODY_BYTES or message["type"] != "http.request":
            return message
        await _refuse(send)
        # To Django the client has gone, so it answers nothing more.
        return {"type": "http.disconnect"}

    return counting


async def _refuse(send: Send) -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(_BODY)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": _BODY})
