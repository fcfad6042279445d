"""Reads what OpenAI, OpenRouter and services that speak like them say in the body of an error.

https://platform.openai.com/docs/guides/error-codes, https://openrouter.ai/docs/api-reference/errors; the resellers'
own codes as they were seen on the wire.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from generation.channels.adapters.failures import Told, kind_of
from generation.channels.adapters.http_json import Refused, mapping, text
from generation.contract import ErrorKind

# Out of money, or a wrong key, whatever the status: resellers say it with 403 and 429, too.
_OURS = (
    "insufficient_user_quota",
    "insufficient_quota",
    "billing_hard_limit_reached",
    "billing_not_active",
    "invalid_api_key",
    "account_deactivated",
    "pre_consume_token_quota_failed",
)
_MODERATED = ("moderation_blocked", "content_policy_violation", "content_filter", "sensitive_words_detected")
# A 402 that only says that what is running would use up the rest: it passes.
_IN_FLIGHT = "in_flight_budget_exhausted"


def error_of(body: Any) -> Mapping[str, Any]:
    """The error of a body: an object, or one with a text where a service sends no more."""
    found = mapping(body).get("error")
    if isinstance(found, str):
        return {"message": found}
    return mapping(found) or ({"message": mapping(body).get("message")} if "message" in mapping(body) else {})


def tell(error: Exception) -> Told:
    """What an answered error says."""
    if not isinstance(error, Refused):
        return Told()
    found = error_of(error.body)
    return Told(message=_message(found), kind=kind_within(error.status, found))


def kind_within(status: int, error: Mapping[str, Any]) -> ErrorKind:
    """What an error means, by its words before its status."""
    words = _words(error)
    if status == 402 and _IN_FLIGHT in words:
        return "busy"
    if any(each in words for each in _OURS):
        return "unauthorized"
    return kind_of(status)


def moderation_in(status: int, error: Mapping[str, Any]) -> str:
    """Why the content was refused, in the upstream's word; empty where the error is another one."""
    words = _words(error)
    found = next((each for each in _MODERATED if each in words), "")
    # OpenRouter answers 403 with what a moderator found; any other 403 is about the key.
    reasons = mapping(error.get("metadata")).get("reasons")
    if status == 403 and isinstance(reasons, list) and reasons:
        return f"moderation: {', '.join(str(each) for each in reasons)}"[:40]
    return found


def status_of(error: Mapping[str, Any]) -> int:
    """The status that an error within a 200 answer stands for: its numeric code, else 502."""
    code = error.get("code")
    return code if isinstance(code, int) and 400 <= code < 600 else 502


def _message(error: Mapping[str, Any]) -> str:
    code = error.get("code") or error.get("type") or ""
    message = text(error.get("message"))
    return f"{code}: {message}" if code and message else message or str(code)


def _words(error: Mapping[str, Any]) -> str:
    named = (error.get("code"), error.get("type"), mapping(error.get("metadata")).get("error_type"))
    return " ".join(str(each) for each in named if each)
