"""Who asks: a raw API key, wherever a door found it, becomes a Requester within its rate limit, or a refusal."""

from __future__ import annotations

from datetime import UTC, datetime

from django.conf import settings
from django.http import HttpRequest

from accounts import rate_limits
from accounts.authentication import AuthenticationFailed, Requester, authenticate
from accounts.request_address import address_of
from generation.contract import Refusal


def admit(request: HttpRequest, raw: str | None, *, how: str) -> Requester:
    """The Requester behind a raw key. `how` says in words how this door wants the key to be sent."""
    if not raw:
        raise Refusal("unauthenticated", "api_key_missing", f"Send an API key: {how}")
    try:
        requester = authenticate(raw, address=address_of(request), now=datetime.now(UTC))
    except AuthenticationFailed as error:
        _slow_down_guessing(address_of(request))
        kind = "forbidden" if error.is_forbidden else "unauthenticated"
        raise Refusal(kind, error.code, error.message) from error
    _count(request, requester)
    return requester


def idempotency_key(request: HttpRequest) -> str:
    """The header's value, empty where there is none, or a refusal: 1 to 255 printable ASCII characters."""
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return ""
    if not 1 <= len(key) <= 255 or not all(" " <= character <= "~" for character in key):
        raise Refusal("invalid", "invalid_request", "1 to 255 printable ASCII characters.", param="Idempotency-Key")
    return key


def require(requester: Requester, scope: str) -> Requester:
    """The requester, if its key has the scope."""
    if not requester.may(scope):
        raise Refusal("forbidden", "scope_missing", f"This API key lacks the scope {scope!r}.")
    return requester


def _slow_down_guessing(address: str) -> None:
    """Refused keys are counted by address: guessing gets a 429 long before it gets anywhere."""
    state = rate_limits.hit(f"refused:{address}", per_minute=settings.NBP_REFUSED_KEYS_PER_MINUTE)
    if not state.is_allowed:
        raise Refusal(
            "rate_limit",
            "too_many_refused_keys",
            "Too many requests with refused keys came from this address.",
            retry_after_seconds=state.reset_seconds,
        )


def _count(request: HttpRequest, requester: Requester) -> None:
    state = rate_limits.hit(requester.rate_limit_name, per_minute=requester.requests_per_minute)
    request.rate_limit_state = state  # type: ignore[attr-defined]
    if not state.is_allowed:
        raise Refusal(
            "rate_limit",
            "rate_limit_exceeded",
            f"More than {state.limit} requests a minute.",
            retry_after_seconds=state.reset_seconds,
        )
