"""Says what a failed call means: any exception becomes a `ChannelError`, without our key and the upstream's bulk."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

import httpx2

from generation.contract import ChannelError, ErrorKind
from generation.egress.transport import BodyTooLarge, Exchange

MESSAGE_CHARACTERS = 500
LONGEST_RETRY_AFTER_SECONDS = 86_400.0
BUSY_STATUSES = frozenset({429, 503})
# The upstream gave up on the request or asks for it again: a failure of its own, although it says 4xx.
TRANSIENT_STATUSES = frozenset({404, 408, 409, 425, 499})
REQUEST_STATUSES = frozenset({400, 413, 415, 422})


@dataclass(frozen=True, slots=True)
class Told:
    """What an upstream says in the body of an error.

    `delays` are its wishes to be left alone, beside Retry-After; `kind` is set where its words say more than the
    status does.
    """

    message: str = ""
    delays: tuple[str, ...] = ()
    kind: ErrorKind | None = None


# Reads the body of an answered error out of the exception that an SDK, or our own reading, made of it.
Tell = Callable[[Exception], Told]


def translate(error: Exception, exchange: Exchange, secret: str, deadline_seconds: float, tell: Tell) -> ChannelError:
    """What `error`, raised during `exchange`, means for the attempt."""
    if isinstance(error, ChannelError):
        return error
    request_id = exchange.headers.get("x-request-id", "")
    if _is_answered(error, exchange):
        return answered(exchange.status or 0, tell(error), exchange.headers, secret, request_id)
    kind: ErrorKind = "unknown" if exchange.is_sent else "unreachable"
    message = redacted(_described(error, deadline_seconds), secret)
    return ChannelError(kind, message, status=exchange.status, upstream_request_id=request_id)


def answered(status: int, told: Told, headers: Mapping[str, str], secret: str, request_id: str = "") -> ChannelError:
    """What an error means that the upstream itself answered with."""
    message = told.message or headers.get("content-type", "no message")
    return ChannelError(
        told.kind or kind_of(status),
        redacted(f"{status} {message}", secret),
        status=status,
        retry_after_seconds=_retry_after_seconds(headers, told),
        upstream_request_id=request_id,
    )


def kind_of(status: int) -> ErrorKind:
    """What a status means where the body says no more."""
    if status in BUSY_STATUSES:
        return "busy"
    if status < 400 or status >= 500 or status in TRANSIENT_STATUSES:
        return "failed"
    return "rejected" if status in REQUEST_STATUSES else "unauthorized"


def _is_answered(error: Exception, exchange: Exchange) -> bool:
    """Whether an error status came, whole. One whose body is only too long to read is no less an answer."""
    is_whole = exchange.is_complete or isinstance(error, BodyTooLarge)
    return is_whole and exchange.status is not None and not 200 <= exchange.status < 300


def _retry_after_seconds(headers: Mapping[str, str], told: Told) -> float | None:
    """From Retry-After (RFC 9110, 10.2.3: seconds or a date), else from the body ("34s")."""
    for value in (headers.get("retry-after", ""), *told.delays):
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
    return f"{type(error).__name__}: what came is no answer of this provider's"


def redacted(message: str, secret: str) -> str:
    """An upstream's words without our key, and no more of them than a row takes."""
    return (message.replace(secret, "[API key]") if secret else message)[:MESSAGE_CHARACTERS]
