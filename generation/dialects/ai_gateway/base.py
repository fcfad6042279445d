"""What the views of this door share: the key, the headers in which model and version stand, and the front door."""

from __future__ import annotations

from django.http import HttpRequest

from accounts.authentication import Requester
from generation.contract import invalid
from generation.dialects import admission, coroutines, door
from generation.dialects.ai_gateway import errors

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


not_found = coroutines.not_found(errors.answer)
