"""Reads what Google says in the body of an error.

Google's error model: https://google.aip.dev/193. Codes of this API: https://ai.google.dev/gemini-api/docs/troubleshooting.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from google.genai import errors

from generation.channels.adapters.failures import REQUEST_STATUSES, Told
from generation.channels.adapters.http_json import Refused
from generation.contract import ErrorKind

BILLING = "the Google project of this key has no billing enabled, or its region is not served: see AI Studio, Projects"


def tell(error: Exception) -> Told:
    """What an answered error says."""
    body = _body(error)
    status, message = body.get("status", ""), str(body.get("message", ""))
    if body.get("status") == "FAILED_PRECONDITION":
        message = f"{message} ({BILLING})"
    return Told(
        message=f"{status}: {message}" if message else "",
        delays=tuple(str(detail["retryDelay"]) for detail in _details(body) if "retryDelay" in detail),
        kind=_kind(error, body),
    )


def _kind(error: Exception, body: Mapping[str, Any]) -> ErrorKind | None:
    """A wrong key and a missing payment or region come as 400, too; not every proxy passes the details on."""
    code = error.status if isinstance(error, Refused) else getattr(error, "code", None)
    if code not in REQUEST_STATUSES:
        return None
    is_ours = body.get("status") == "FAILED_PRECONDITION" or str(body.get("message", "")).startswith("API key")
    has_invalid_key = any(detail.get("reason") == "API_KEY_INVALID" for detail in _details(body))
    return "unauthorized" if is_ours or has_invalid_key else None


def _body(error: Exception) -> Mapping[str, Any]:
    """The `error` object of the answer, as google-genai or our own reading has it."""
    body = error.details if isinstance(error, errors.APIError) else getattr(error, "body", None)
    inner = body.get("error") if isinstance(body, dict) else None
    if isinstance(inner, dict):
        return inner
    return body if isinstance(body, dict) else {}


def _details(body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    details = body.get("details")
    return (detail for detail in (details if isinstance(details, list) else ()) if isinstance(detail, dict))
