"""Turns bodies away that are larger than the site takes, before Django spools them to disk."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from django.conf import settings
from django.http import HttpRequest

from generation.contract import Refusal
from nbp_site.doors import door_of, native

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
# An ASGI application; the types of frameworks and servers for it differ.
Application = Callable[[Any, Any, Any], Awaitable[None]]

_TOO_LARGE = Refusal("too_large", "body_too_large", "The body is too large.")


def with_body_limit(application: Application) -> Application:
    """The application, answering 413 itself when a body is longer than NBP_MAX_BODY_BYTES, announced or not."""

    async def limited(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await application(scope, receive, send)
        elif _announced(scope) > settings.NBP_MAX_BODY_BYTES:
            await _refuse(scope, send)
        else:
            await application(scope, _counted(scope, receive, send), send)

    return limited


def _announced(scope: MutableMapping[str, Any]) -> int:
    lengths = [value for name, value in scope["headers"] if name == b"content-length"]
    return int(lengths[0]) if lengths and lengths[0].isdigit() else 0


def _counted(scope: Message, receive: Receive, send: Send) -> Receive:
    seen = 0

    async def counting() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen <= settings.NBP_MAX_BODY_BYTES or message["type"] != "http.request":
            return message
        await _refuse(scope, send)
        # To Django the client has gone, so it answers nothing more.
        return {"type": "http.disconnect"}

    return counting


async def _refuse(scope: Message, send: Send) -> None:
    """In the format of the door that was knocked at; the site's own pages speak like the native one."""
    request = HttpRequest()
    request.path = scope["path"]
    body = (door_of(request.path) or native)(request, _TOO_LARGE).content
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": body})
