"""The native door's credentials: an API key as a bearer, with its rate limit. Cookies count for nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from drf_spectacular.extensions import OpenApiAuthenticationExtension
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
            _slow_down_guessing(door.address_of(request))
            kind = "forbidden" if error.is_forbidden else "unauthenticated"
            raise Refusal(kind, error.code, error.message) from error
        _count(request, requester)
        return requester, requester

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="api"'


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


class ApiKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """Tells the schema generator what the class above asks for."""

    target_class = "generation.dialects.native.authentication.ApiKeyAuthentication"
    name = "apiKey"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "An API key, nbp_live_... or nbp_test_..."}
