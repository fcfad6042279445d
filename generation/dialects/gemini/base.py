"""What the views of this door share: the key, the body in one spelling, and the way through the front door."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from django.http import HttpRequest

from accounts.authentication import Requester
from generation.contract import invalid
from generation.dialects import admission, coroutines, door, strict_json
from generation.dialects.gemini import casing, errors

_VERSIONED = re.compile(r"(/gemini|)(?:/upload)?/(v1(?:beta|alpha)?)/")
_HOW = "x-goog-api-key: nbp_live_... or nbp_test_..."


def requester_of(request: HttpRequest, scope: str = "read") -> Requester:
    """Who asks: by header, by `?key=`, or as a bearer."""
    raw = request.headers.get("X-Goog-Api-Key") or request.GET.get("key") or door.bearer(request) or ""
    return admission.require(admission.admit(request, raw.strip(), how=_HOW), scope)


def body_of(request: HttpRequest) -> dict[str, Any]:
    """The body, its names in camelCase."""
    body: dict[str, Any] = casing.camel(strict_json.read_object(request))
    return body


def prefix_of(request: HttpRequest) -> str:
    """The path of this door in the version that was asked, without what an upload has before it."""
    match = _VERSIONED.match(request.path)
    return f"{match[1]}/{match[2]}" if match else "/gemini/v1beta"


def number_of(request: HttpRequest, name: str, default: int) -> int:
    """A number in the query."""
    text = request.GET.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and len(text) < 6):
        raise invalid(name, "This is a whole number.")
    return int(text)


def moment(at: datetime) -> str:
    """A time as Google writes them."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


not_found = coroutines.not_found(errors.answer)
