"""The native door's credentials: an API key as a bearer, with its rate limit. Cookies count for nothing."""

from __future__ import annotations

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from generation.dialects import admission, door


class ApiKeyAuthentication(BaseAuthentication):
    """`Authorization: Bearer nbp_...`. Sets `request.user` and `request.auth` to the Requester."""

    def authenticate(self, request: Request) -> tuple[Any, Any]:
        raw = door.bearer(request._request)
        requester = admission.admit(request._request, raw, how="Authorization: Bearer nbp_live_... or nbp_test_...")
        return requester, requester

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="api"'


class ApiKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """Tells the schema generator what the class above asks for."""

    target_class = "generation.dialects.native.authentication.ApiKeyAuthentication"
    name = "apiKey"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "An API key, nbp_live_... or nbp_test_..."}
