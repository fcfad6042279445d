"""Refusals in the AI Gateway's words."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, JsonResponse

from generation.contract import Refusal
from generation.dialects import refusals

_TYPES = {
    "unauthenticated": "authentication_error",
    "forbidden": "forbidden",
    "not_found": "not_found",
    "rate_limit": "rate_limit_exceeded",
    "no_answer": "failed_dependency",
    "fault": "internal_server_error",
    "unavailable": "internal_server_error",
    "timeout": "internal_server_error",
    "payment": "insufficient_funds",
}
_NO_MODEL = ("model_not_found", "model_not_available")


def answer(request: HttpRequest, refusal: Refusal) -> JsonResponse:
    """The error as an answer. Its SDK decides by the status whether to send again."""
    headers = {}
    if refusal.retry_after_seconds is not None:
        headers["Retry-After"] = str(refusal.retry_after_seconds)
    return JsonResponse(body(refusal), status=status_of(refusal), headers=headers)


def status_of(refusal: Refusal) -> int:
    return 404 if refusal.code in _NO_MODEL else refusals.STATUSES[refusal.kind]


def body(refusal: Refusal) -> dict[str, Any]:
    """The error object, with our own word for it as its code."""
    is_about_model = refusal.code in _NO_MODEL
    kind = "model_not_found" if is_about_model else _TYPES.get(refusal.kind, "invalid_request_error")
    message = f"{refusal.param}: {refusal.message}" if refusal.param else refusal.message
    return {"error": {"message": message, "type": kind, "param": None, "code": refusal.code}}
