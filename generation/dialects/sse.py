"""Server-sent events, as doors whose vendors stream have them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from django.http import StreamingHttpResponse


def response(events: AsyncIterator[bytes]) -> StreamingHttpResponse:
    """A stream of events that no proxy may hold back."""
    stream = StreamingHttpResponse(events, content_type="text/event-stream")
    stream["Cache-Control"] = "no-store"
    stream["X-Accel-Buffering"] = "no"
    return stream


def event(data: Any, *, name: str = "") -> bytes:
    """One event, its data as JSON on one line."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(data, separators=(',', ':'))}\n\n".encode()


def comment(text: str) -> bytes:
    """A line that clients skip."""
    return f": {text}\n\n".encode()


DONE = b"data: [DONE]\n\n"
