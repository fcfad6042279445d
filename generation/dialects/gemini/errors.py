"""Refusals in Google's words: a number, a status word, a message, and details."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, JsonResponse

from generation.contract import Refusal
from generation.dialects import refusals

_WORDS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "FAILED_PRECONDITION",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    409: "ABORTED",
    410: "NOT_FOUND",
    413: "INVALID_ARGUMENT",
    415: "INVALID_ARGUMENT",
    422: "INVALID_ARGUMENT",
    424: "FAILED_PRECONDITION",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
# google.rpc.Code (https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto).
NUMBERS = {
    "CANCELLED": 1,
    "INVALID_ARGUMENT": 3,
    "DEADLINE_EXCEEDED": 4,
    "NOT_FOUND": 5,
    "PERMISSION_DENIED": 7,
    "RESOURCE_EXHAUSTED": 8,
    "FAILED_PRECONDITION": 9,
    "ABORTED": 10,
    "UNIMPLEMENTED": 12,
    "INTERNAL": 13,
    "UNAVAILABLE": 14,
    "UNAUTHENTICATED": 16,
}
_NOT_FOUND = ("model_not_found", "model_not_available")


def answer(request: HttpRequest, refusal: Refusal) -> JsonResponse:
    """The error as an answer."""
    headers = {}
    if refusal.retry_after_seconds is not None:
        headers["Retry-After"] = str(refusal.retry_after_seconds)
    return JsonResponse(body(refusal), status=_status(refusal), headers=headers)


def body(refusal: Refusal) -> dict[str, Any]:
    """The error object; in a stream, too, where clients know it by its first name."""
    status = _status(refusal)
    details: list[dict[str, Any]] = [
        {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": refusal.code.upper(),
            "domain": "nbp",
            "metadata": {"field": refusal.param} if refusal.param else {},
        }
    ]
    if refusal.retry_after_seconds is not None:
        delay = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{refusal.retry_after_seconds}s"}
        details.append(delay)
    message = f"{refusal.param}: {refusal.message}" if refusal.param else refusal.message
    return {"error": {"code": status, "message": message, "status": _WORDS[status], "details": details}}


def status(refusal: Refusal) -> dict[str, Any]:
    """The error as a google.rpc.Status, which stands for a request of a batch. Without details: Google's SDK for Python
    takes them for texts, and fails on anything else."""
    error = body(refusal)["error"]
    return {"code": NUMBERS[error["status"]], "message": f"{error['message']} ({refusal.code})"}


def _status(refusal: Refusal) -> int:
    return 404 if refusal.code in _NOT_FOUND else refusals.STATUSES[refusal.kind]
