"""The native door's credentials: an API key as a bearer, with its rate limit. Cookies count for nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from accounts import rate_limits
from accounts.authentication import AuthenticationFailed, Requester, authenticate
from generation.contract import Refusal
from generation.dialects import door


class ApiKeyAuthentication(BaseAuthentication):
    """`Authorization: Bearer nbp_...`. Sets `request.user` and `request.auth` to the Requester."""

    def authenticate(self, request: Request) -> tuple[Any, Any]:
        raw = door.bearer(request)
        if not raw:
            raise Refusal(
                "unauthenticated",
                "api_key_missing",
                "Send an API key: Authorization: Bearer nbp_live_... or nbp_test_...",
            )
        try:
            requester = authenticate(raw, address=door.address_of(request), now=datetime.now(UTC))
        except AuthenticationFailed as error:
            kind = "forbidden" if error.is_forbidden else "unauthenticated"
            raise Refusal(kind, error.code, error.message) from error
        _count(request, requester)
        return requester, requester

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="api"'


def _count(request: Request, requester: Requester) -> None:
    state = rate_limits.hit(requester.rate_limit_name, per_minute=requester.requests_per_minute)
    request._request.rate_limit_state = state  # type: ignore[attr-defined]
    if not state.is_allowed:
        raise Refusal(
            "rate_limit",
            "rate_limit_exceeded",
            f"More than {state.limit} requests a minute.",
            retry_after_seconds=state.reset_seconds,
        )
