"""Refusals and faults in the native door's words: `{"error": {...}}` with a status that never lies."""

from __future__ import annotations

import logging
from typing import Any

from django.core.exceptions import RequestDataTooBig, SuspiciousOperation, TooManyFilesSent
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, JsonResponse
from rest_framework import exceptions
from rest_framework.response import Response

from accounts.request_context import current as current_request_id
from generation.contract import Refusal

logger = logging.getLogger(__name__)

# Kind of refusal -> (HTTP status, the error's type in the answer).
STATUSES: dict[str, tuple[int, str]] = {
    "invalid": (400, "invalid_request_error"),
    "unauthenticated": (401, "authentication_error"),
    "payment": (402, "payment_error"),
    "forbidden": (403, "permission_error"),
    "not_found": (404, "not_found_error"),
    "method": (405, "invalid_request_error"),
    "conflict": (409, "conflict_error"),
    "gone": (410, "not_found_error"),
    "too_large": (413, "invalid_request_error"),
    "media_type": (415, "invalid_request_error"),
    "unprocessable": (422, "invalid_request_error"),
    "rate_limit": (429, "rate_limit_error"),
    "fault": (500, "server_error"),
    "unavailable": (503, "unavailable_error"),
}


def body(refusal: Refusal) -> dict[str, Any]:
    """The error envelope. `billed` is always false: what is refused costs nothing."""
    return {
        "error": {
            "message": refusal.message,
            "type": STATUSES[refusal.kind][1],
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
    return Response(body(refusal), status=STATUSES[refusal.kind][0], headers=_headers(refusal))


def plain(refusal: Refusal) -> JsonResponse:
    """The same envelope outside DRF."""
    return JsonResponse(body(refusal), status=STATUSES[refusal.kind][0], headers=_headers(refusal))


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
    (Http404, "not_found", "not_found", "There is nothing here."),
    (RequestDataTooBig, "too_large", "body_too_large", "The body is too large."),
    (TooManyFilesSent, "too_large", "body_too_large", "The body has more than 20 files."),
    (SuspiciousOperation, "invalid", "invalid_request", "The body cannot be read."),
    (OperationalError, "unavailable", "service_unavailable", "This service cannot reach its database. Try again."),
    (InterfaceError, "unavailable", "service_unavailable", "This service cannot reach its database. Try again."),
)


def _refusal(error: Exception) -> Refusal | None:
    if isinstance(error, Refusal):
        return error
    if isinstance(error, exceptions.ValidationError):
        return from_validation(error.detail)
    for kind_of_error, kind, code, message in _FRAMEWORK:
        if isinstance(error, kind_of_error):
            if kind == "unavailable":
                logger.error("answered with 503: %s", error)
            return Refusal(kind, code, message, retry_after_seconds=5 if kind == "unavailable" else None)
    return None


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
    return plain(Refusal("not_found", "not_found", f"There is no {request.path[:200]} here."))


def bad_request() -> JsonResponse:
    """A request that was turned away before any view."""
    return plain(Refusal("invalid", "invalid_request", "The request cannot be read."))


def fault() -> JsonResponse:
    """A fault of ours, without its details."""
    return plain(
        Refusal(
            "fault",
            "internal_error",
            "Something went wrong here. Before you repeat a create, look whether it was accepted.",
        )
    )
