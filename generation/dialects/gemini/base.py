"""What the views of this door share: the key, the body in one spelling, and the way through the front door."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from django.http import HttpRequest, HttpResponseBase
from django.views.decorators.csrf import csrf_exempt

from accounts.authentication import Requester
from generation import submission
from generation.contract import GenerationRequest, invalid
from generation.dialects import admission, door, refusals, strict_json
from generation.dialects.gemini import casing, errors
from generation.dialects.making import Accepted, Joining

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


def accept(request: HttpRequest, requester: Requester, asked: GenerationRequest) -> Accepted:
    """Through the front door. No client of this dialect says that it sends again: lost requests are known as such."""
    return submission.accept(
        requester,
        asked,
        now=datetime.now(UTC),
        idempotency_key=admission.idempotency_key(request),
        joining=Joining.IF_LOST,
    )


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


@csrf_exempt
async def not_found(request: HttpRequest, **_: Any) -> HttpResponseBase:
    """Unknown routes below this door answer in its own format."""
    return errors.answer(request, refusals.not_found(request.path))
