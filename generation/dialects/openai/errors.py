"""Refusals in OpenAI's words, and in OpenRouter's where a request came by that way."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, JsonResponse

from generation.contract import Refusal
from generation.dialects import refusals

_TYPES = {
    "unauthenticated": "invalid_request_error",
    "refused": "image_generation_user_error",
    "payment": "insufficient_quota",
    "forbidden": "permission_error",
    "rate_limit": "rate_limit_error",
    "fault": "server_error",
    "unavailable": "server_error",
    "no_answer": "server_error",
    "timeout": "timeout",
}
# Codes for which OpenAI has a word of its own.
_CODES = {
    "api_key_missing": "invalid_api_key",
    "insufficient_credit": "insufficient_quota",
    "wallet_frozen": "insufficient_quota",
    "spending_limit_exceeded": "insufficient_quota",
    "budget_exceeded": "insufficient_quota",
    "content_refused": "moderation_blocked",
    "unknown_field": "unknown_parameter",
    "model_not_available": "model_not_found",
}


def answer(request: HttpRequest, refusal: Refusal) -> JsonResponse:
    """The error as an answer; `x-should-retry` tells the SDKs whether to send again by themselves."""
    headers = {"x-should-retry": str(refusal.kind in refusals.WORTH_REPEATING).lower()}
    if refusal.retry_after_seconds is not None:
        headers["Retry-After"] = str(refusal.retry_after_seconds)
    return JsonResponse(body(refusal, path=request.path), status=status_of(refusal), headers=headers)


def is_openrouter(path: str) -> bool:
    """Whether a path stands for OpenRouter's."""
    return path.startswith("/openrouter/")


def status_of(refusal: Refusal) -> int:
    return 404 if code_of(refusal) == "model_not_found" else refusals.STATUSES[refusal.kind]


def body(refusal: Refusal, *, path: str = "") -> dict[str, Any]:
    """The error object, as an answer or in the midst of a stream has it."""
    if is_openrouter(path):
        return {"error": {"code": status_of(refusal), "message": refusal.message, "metadata": {"code": refusal.code}}}
    return {
        "error": {
            "message": refusal.message,
            "type": _TYPES.get(refusal.kind, "invalid_request_error"),
            "param": refusal.param,
            "code": code_of(refusal),
        }
    }


def code_of(refusal: Refusal) -> str:
    """Its code: OpenAI's own word where it has one."""
    return _CODES.get(refusal.code, refusal.code)
