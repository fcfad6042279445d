"""What the views of this door share: the key, the body, and the way through the front door."""

from __future__ import annotations

from datetime import UTC, datetime

from django.http import HttpRequest, HttpResponseBase
from django.views.decorators.csrf import csrf_exempt

from accounts.authentication import Requester
from generation import submission
from generation.contract import GenerationRequest
from generation.dialects import admission, door, refusals
from generation.dialects.making import Accepted, Joining
from generation.dialects.openai import errors

_HOW = "Authorization: Bearer nbp_live_... or nbp_test_..."


def requester_of(request: HttpRequest, scope: str = "read") -> Requester:
    """Who asks, by the bearer key."""
    return admission.require(admission.admit(request, door.bearer(request), how=_HOW), scope)


def accept(request: HttpRequest, requester: Requester, asked: GenerationRequest) -> Accepted:
    """Through the front door. OpenAI's SDKs count their own resends; others are known by what was lost."""
    return submission.accept(
        requester,
        asked,
        now=datetime.now(UTC),
        idempotency_key=admission.idempotency_key(request),
        joining=Joining.SENT_AGAIN if _is_sent_again(request) else Joining.IF_LOST,
    )


def _is_sent_again(request: HttpRequest) -> bool:
    count = request.headers.get("X-Stainless-Retry-Count", "0")
    return count.isascii() and count.isdigit() and int(count[:4]) > 0


def is_openrouter(request: HttpRequest) -> bool:
    """Whether it came by the prefix that stands for OpenRouter."""
    return request.path.startswith("/openrouter/")


@csrf_exempt
async def not_found(request: HttpRequest, path: str = "") -> HttpResponseBase:
    """Unknown routes below this door answer in its own format."""
    return errors.answer(request, refusals.not_found(request.path))
