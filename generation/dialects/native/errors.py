"""Refusals and faults in the native door's words: `{"error": {...}}` with a status that never lies."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, JsonResponse
from rest_framework import exceptions
from rest_framework.response import Response

from accounts.request_context import current as current_request_id
from generation.contract import Refusal
from generation.dialects import refusals

# Kind of refusal -> the error's type in the answer.
_TYPES = {
    "unauthenticated": "authentication_error",
    "payment": "payment_error",
    "forbidden": "permission_error",
    "not_found": "not_found_error",
    "conflict": "conflict_error",
    "gone": "not_found_error",
    "rate_limit": "rate_limit_error",
    "fault": "server_error",
    "unavailable": "unavailable_error",
}


def body(refusal: Refusal) -> dict[str, Any]:
    """The error envelope. `billed` is always false: what is refused costs nothing."""
    return {
        "error": {
            "message": refusal.message,
            "type": _TYPES.get(refusal.kind, "invalid_request_error"),
            "code": refusal.code,
            "param": refusal.param,
            "request_id": current_request_id(),
            "billed": False,
            "docs": f"/api/v1/docs/errors#{refusal.code}",
        }
    }


def _headers(refusal: Refusal) -> dict[str, str]:
    headers = {}
    if refusal.retry_after_seconds is not None:
        headers["Retry-After"] = str(refusal.retry_after_seconds)
    if refusal.kind == "unauthenticated":
        headers["WWW-Authenticate"] = 'Bearer realm="api"'
    if refusal.kind in ("payment", "unprocessable"):
        headers["X-Should-Retry"] = "false"
    return headers


def handle(error: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's exception handler: every error leaves in the envelope."""
    refusal = _refusal(error)
    if refusal is None:
        return None
    return Response(body(refusal), status=refusals.STATUSES[refusal.kind], headers=_headers(refusal))


def plain(refusal: Refusal) -> JsonResponse:
    """The same envelope outside DRF."""
    return JsonResponse(body(refusal), status=refusals.STATUSES[refusal.kind], headers=_headers(refusal))


_FRAMEWORK: tuple[tuple[type[Exception], str, str, str], ...] = (
    (exceptions.ParseError, "invalid", "invalid_request", "The body cannot be read."),
    (
        exceptions.UnsupportedMediaType,
        "media_type",
        "unsupported_media_type",
        "Send application/json or multipart/form-data.",
    ),
    (exceptions.MethodNotAllowed, "method", "method_not_allowed", "This method is not allowed here."),
    (exceptions.NotAuthenticated, "unauthenticated", "api_key_missing", "Send an API key as a bearer."),
    (exceptions.AuthenticationFailed, "unauthenticated", "invalid_api_key", "The API key is not valid."),
    (exceptions.PermissionDenied, "forbidden", "forbidden", "This is not allowed."),
    (exceptions.NotFound, "not_found", "not_found", "There is nothing here."),
)


def _refusal(error: Exception) -> Refusal | None:
    if isinstance(error, exceptions.ValidationError):
        return from_validation(error.detail)
    for kind_of_error, kind, code, message in _FRAMEWORK:
        if isinstance(error, kind_of_error):
            return Refusal(kind, code, message)
    return refusals.of(error)


# (field, the serializer's word) -> our documented code.
_FIELD_CODES = {
    ("n", "min_value"): "n_out_of_range",
    ("n", "max_value"): "n_out_of_range",
    ("image_size", "invalid_choice"): "image_size_not_supported",
    ("prompt", "null_characters_not_allowed"): "prompt_invalid",
    ("prompt", "surrogate_characters_not_allowed"): "prompt_invalid",
}
_OWN_CODES = {"unknown_field", *_FIELD_CODES.values()}


def from_validation(detail: Any, path: str = "") -> Refusal:
    """The first problem of a serializer, with the field it is about."""
    if isinstance(detail, dict):
        name, inner = next(iter(detail.items()))
        if name == "non_field_errors":
            return from_validation(inner, path)
        step = f"[{name}]" if isinstance(name, int) else f".{name}" if path else str(name)
        return from_validation(inner, path + step)
    if isinstance(detail, list):
        place = next((index for index, each in enumerate(detail) if each), 0)
        step = f"[{place}]" if isinstance(detail[place], dict) else ""
        return from_validation(detail[place], path + step)
    code = _FIELD_CODES.get((path, getattr(detail, "code", "")), getattr(detail, "code", "invalid"))
    return Refusal("invalid", code if code in _OWN_CODES else "invalid_request", str(detail), param=path or None)


def not_found(request: HttpRequest) -> JsonResponse:
    """Unknown routes below the door."""
    return plain(refusals.not_found(request.path))
