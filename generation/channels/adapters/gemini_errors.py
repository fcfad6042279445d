"""Says what a failed Gemini call means: any exception becomes a `ChannelError`, without our key and upstream's bulk.

Google's error model: https://google.aip.dev/193. Codes of this API: https://ai.google.dev/gemini-api/docs/troubleshooting.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2
from google.genai import errors

from generation.contract import ChannelError, ErrorKind
from generation.egress.transport import BodyTooLarge, Exchange

MESSAGE_CHARACTERS = 500
LONGEST_RETRY_AFTER_SECONDS = 86_400.0
BUSY_STATUSES = frozenset({429, 503})
# The upstream gave up on the request or asks for it again: a failure of its own, although it says 4xx.
TRANSIENT_STATUSES = frozenset({404, 408, 409, 425, 499})
REQUEST_STATUSES = frozenset({400, 413, 415, 422})


def translate(error: Exception, exchange: Exchange, secret: str, deadline_seconds: float) -> ChannelError:
    """What `error`, raised during `exchange`, means for the attempt."""
    if isinstance(error, ChannelError):
        return error
    request_id = exchange.headers.get("x-request-id", "")
    if _is_answered(error, exchange):
        return _answered(error, exchange, secret, request_id)
    kind: ErrorKind = "unknown" if exchange.is_sent else "unreachable"
    message = _redacted(_described(error, deadline_seconds), secret)
    return ChannelError(kind, message, status=exchange.status, upstream_request_id=request_id)


def _is_answered(error: Exception, exchange: Exchange) -> bool:
    """Whether an error status came, whole. One whose body is only too long to read is no less an answer."""
    is_whole = exchange.is_complete or isinstance(error, BodyTooLarge)
    return is_whole and exchange.status is not None and not 200 <= exchange.status < 300


def _answered(error: Exception, exchange: Exchange, secret: str, request_id: str) -> ChannelError:
    status = exchange.status or 0
    told = _told(error)
    message = told.get("message") or exchange.headers.get("content-type", "no message")
    return ChannelError(
        _kind(status, told),
        _redacted(f"{status} {told.get('status', '')}: {message}", secret),
        status=status,
        retry_after_seconds=_retry_after_seconds(exchange.headers, told),
        upstream_request_id=request_id,
    )


def _kind(status: int, told: Mapping[str, Any]) -> ErrorKind:
    if status in BUSY_STATUSES:
        return "busy"
    if status < 400 or status >= 500 or status in TRANSIENT_STATUSES:
        return "failed"
    if status in REQUEST_STATUSES and not _is_channels_fault(told):
        return "rejected"
    return "unauthorized"


def _is_channels_fault(told: Mapping[str, Any]) -> bool:
    """A wrong key and a missing payment or region come as 400, too; not every proxy passes the details on."""
    if told.get("status") == "FAILED_PRECONDITION" or str(told.get("message", "")).startswith("API key"):
        return True
    return any(detail.get("reason") == "API_KEY_INVALID" for detail in _details(told))


def _told(error: Exception) -> Mapping[str, Any]:
    """The `error` object of the answer, or what google-genai made of a page that is no JSON."""
    body = error.details if isinstance(error, errors.APIError) else None
    inner = body.get("error") if isinstance(body, dict) else None
    if isinstance(inner, dict):
        return inner
    return body if isinstance(body, dict) else {}


def _details(told: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    details = told.get("details")
    return (detail for detail in (details if isinstance(details, list) else ()) if isinstance(detail, dict))


def _retry_after_seconds(headers: Mapping[str, str], told: Mapping[str, Any]) -> float | None:
    """From Retry-After (RFC 9110, 10.2.3: seconds or a date), else from google.rpc.RetryInfo ("34s")."""
    delays = [str(detail["retryDelay"]) for detail in _details(told) if "retryDelay" in detail]
    for value in (headers.get("retry-after", ""), *delays):
        seconds = _seconds(value)
        if seconds is not None:
            return min(max(seconds, 0.0), LONGEST_RETRY_AFTER_SECONDS)
    return None


def _seconds(value: str) -> float | None:
    try:
        seconds = float(value.strip().removesuffix("s"))
    except ValueError:
        return _seconds_until(value)
    return seconds if math.isfinite(seconds) else None


def _seconds_until(date: str) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp() - time.time()
    except (ValueError, OverflowError):
        return None


def _described(error: Exception, deadline_seconds: float) -> str:
    """A few words on a failure without an answered status; never a body, which can be a whole picture."""
    if isinstance(error, httpx2.HTTPError | httpx2.InvalidURL | OSError) and not isinstance(error, TimeoutError):
        return f"{type(error).__name__}: {error}"
    if isinstance(error, TimeoutError):
        return f"no complete answer within {deadline_seconds:g} seconds"
    return f"{type(error).__name__}: what came is no answer of generateContent"


def _redacted(message: str, secret: str) -> str:
    return (message.replace(secret, "[API key]") if secret else message)[:MESSAGE_CHARACTERS]
