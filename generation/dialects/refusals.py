"""Errors of framework and database, and failed generations, as refusals that each door says in its own words."""

from __future__ import annotations

import logging
import uuid

from django.core.exceptions import BadRequest, RequestDataTooBig, SuspiciousOperation, TooManyFilesSent
from django.db import InterfaceError, OperationalError
from django.http import Http404
from django.http.multipartparser import MultiPartParserError

from accounts.identifiers import public_id
from generation.contract import Outcome, Refusal

logger = logging.getLogger(__name__)
# Kind of refusal -> HTTP status, where a door has no other.
STATUSES = {
    "invalid": 400,
    "refused": 400,
    "unauthenticated": 401,
    "payment": 402,
    "forbidden": 403,
    "not_found": 404,
    "method": 405,
    "conflict": 409,
    "gone": 410,
    "too_large": 413,
    "media_type": 415,
    "unprocessable": 422,
    "rate_limit": 429,
    "fault": 500,
    "unavailable": 503,
    "no_answer": 424,
    "timeout": 504,
}
# What may pass if it is sent again; whatever else is refused would be refused again, or would be made anew.
WORTH_REPEATING = frozenset({"conflict", "rate_limit", "fault", "unavailable", "timeout"})
FAULT = Refusal(
    "fault",
    "internal_error",
    "Something went wrong here. Before you repeat a create, look whether it was accepted.",
)
_FRAMEWORK: tuple[tuple[type[Exception], str, str, str], ...] = (
    (Http404, "not_found", "not_found", "There is nothing here."),
    (RequestDataTooBig, "too_large", "body_too_large", "The body is too large."),
    (TooManyFilesSent, "too_large", "body_too_large", "The body has more than 20 files."),
    (MultiPartParserError, "invalid", "invalid_request", "The form cannot be read."),
    (BadRequest, "invalid", "invalid_request", "The body cannot be read."),
    (SuspiciousOperation, "invalid", "invalid_request", "The body cannot be read."),
    (OperationalError, "unavailable", "service_unavailable", "This service cannot reach its database. Try again."),
    (InterfaceError, "unavailable", "service_unavailable", "This service cannot reach its database. Try again."),
)
# How outputs end -> kind of refusal.
_ENDS = {
    "content_refused": "refused",
    "no_image": "refused",
    "upstream_rejected": "invalid",
    "upstream_unavailable": "unavailable",
    "upstream_no_answer": "no_answer",
    "canceled": "refused",
}


def of(error: Exception) -> Refusal | None:
    """The refusal that an error means. None for a fault of ours, which is to be logged."""
    if isinstance(error, Refusal):
        return error
    for kind_of_error, kind, code, message in _FRAMEWORK:
        if isinstance(error, kind_of_error):
            if kind == "unavailable":
                logger.error("answered with 503: %s", error)
            return Refusal(kind, code, message, retry_after_seconds=5 if kind == "unavailable" else None)
    return None


def not_found(path: str) -> Refusal:
    """An unknown route below a door."""
    return Refusal("not_found", "not_found", f"There is no {path[:200]} here.")


class OfGeneration(Refusal):
    """What is said instead of an image although the request was accepted. `generation` is its public id."""

    def __init__(self, generation: str, kind: str, code: str, message: str, *, retry_after_seconds: int | None) -> None:
        super().__init__(kind, code, message, retry_after_seconds=retry_after_seconds)
        self.generation = generation

    @property
    def has_ended(self) -> bool:
        return self.kind != "timeout"


def of_outcome(outcome: Outcome) -> OfGeneration:
    """Why a generation that has ended brought no image. It cost nothing."""
    error = outcome.error or next((each.error for each in outcome.outputs if each.error), None)
    code, message = (error["code"], error["message"]) if error else ("internal_error", FAULT.message)
    kind = _ENDS.get(code, "fault")
    return OfGeneration(outcome.id, kind, code, message, retry_after_seconds=5 if kind == "unavailable" else None)


def still_running(generation_id: uuid.UUID) -> OfGeneration:
    """The time for waiting is up, and the work goes on."""
    name = public_id("gen", generation_id)
    return OfGeneration(
        name,
        "timeout",
        "still_running",
        f"{name} is still being made. Send the same request again to go on waiting for it: it is charged once.",
        retry_after_seconds=1,
    )


def said(error: Exception) -> Refusal:
    """The refusal to say in the midst of an answer that has begun. A fault of ours is logged."""
    refusal = of(error)
    if refusal is None:
        logger.error("an answer broke off", exc_info=error)
        return FAULT
    return refusal
