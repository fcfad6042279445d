"""What the views of this door share: the key, the headers in which model and version stand, and the front door."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.http import HttpRequest, HttpResponseBase
from django.views.decorators.csrf import csrf_exempt

from accounts.authentication import Requester
from generation import submission
from generation.contract import GenerationRequest, invalid
from generation.dialects import admission, door, refusals
from generation.dialects.ai_gateway import errors
from generation.dialects.making import Accepted, Joining

_HOW = "Authorization: Bearer nbp_live_... or nbp_test_..."
VERSIONS = ("2", "3", "4")


def requester_of(request: HttpRequest, scope: str = "read") -> Requester:
    """Who asks, by the bearer key."""
    return admission.require(admission.admit(request, door.bearer(request), how=_HOW), scope)


def version_of(request: HttpRequest, header: str) -> int:
    """The specification version that the client speaks and must be answered in."""
    text = request.headers.get(header, "")
    if text not in VERSIONS:
        raise invalid(header, f"This header is one of {', '.join(VERSIONS)}.")
    return int(text)


def model_of(request: HttpRequest, header: str) -> str:
    """The model, which stands in a header only."""
    name = request.headers.get(header, "")
    if not name:
        raise invalid(header, "This header names the model.")
    return name


def accept(request: HttpRequest, requester: Requester, asked: GenerationRequest) -> Accepted:
    """Through the front door. No client of this dialect says that it sends again: lost requests are known as such."""
    return submission.accept(
        requester,
        asked,
        now=datetime.now(UTC),
        idempotency_key=admission.idempotency_key(request),
        joining=Joining.IF_LOST,
    )


@csrf_exempt
async def not_found(request: HttpRequest, **_: Any) -> HttpResponseBase:
    """Unknown routes below this door answer in its own format."""
    return errors.answer(request, refusals.not_found(request.path))
