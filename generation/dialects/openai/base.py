"""What the views of this door share: the key, the body, and the way through the front door."""

from __future__ import annotations

from django.http import HttpRequest

from accounts.authentication import Requester
from generation.contract import GenerationRequest
from generation.dialects import admission, coroutines, door, making
from generation.dialects.openai import errors

_HOW = "Authorization: Bearer nbp_live_... or nbp_test_..."


def requester_of(request: HttpRequest, scope: str = "read") -> Requester:
    """Who asks, by the bearer key."""
    return admission.require(admission.admit(request, door.bearer(request), how=_HOW), scope)


def accept(request: HttpRequest, requester: Requester, asked: GenerationRequest) -> making.Accepted:
    """Through the front door. OpenAI's SDKs count their own resends."""
    joining = making.Joining.SENT_AGAIN if is_sent_again(request) else making.Joining.IF_LOST
    return making.accept(request, requester, asked, joining=joining)


def is_sent_again(request: HttpRequest) -> bool:
    """Whether the SDK says that it has sent this before."""
    count = request.headers.get("X-Stainless-Retry-Count", "0")
    return count.isascii() and count.isdigit() and int(count[:4]) > 0


def is_openrouter(request: HttpRequest) -> bool:
    """Whether it came by the prefix that stands for OpenRouter."""
    return errors.is_openrouter(request.path)


not_found = coroutines.not_found(errors.answer)
