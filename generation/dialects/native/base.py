"""What every view of the native door is made of: a requester with the scope it needs, and checked parameters."""

from __future__ import annotations

from collections.abc import Collection

from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request
from rest_framework.views import APIView

from accounts.authentication import Requester
from generation.contract import Refusal
from generation.dialects import admission
from generation.dialects.native import answers

ERRORS = dict.fromkeys((400, 401, 402, 403, 404, 413, 415, 422, 429, 503), answers.ErrorSchema)
LIMIT = OpenApiParameter("limit", {"type": "integer", "minimum": 1, "maximum": 100, "default": 20})


class NativeView(APIView):
    """A view of the native door: the requester, and the scope it must have."""

    scope = "read"
    scopes: dict[str, str] = {}

    @property
    def requester(self) -> Requester:
        requester = self.request.auth
        assert isinstance(requester, Requester)
        return admission.require(requester, self.scopes.get(self.request.method or "", self.scope))


def choice_of(request: Request, name: str, choices: Collection[str], default: str = "") -> str:
    """A query parameter that is one of some words; the default if it is not given or empty."""
    text = request.query_params.get(name) or default
    if text and text not in choices:
        raise Refusal("invalid", "invalid_request", f"{name} is one of {', '.join(choices)}.", param=name)
    return str(text)


def limit_of(request: Request) -> int:
    """`limit` of a list: 1 to 100, 20 if not given."""
    text = request.query_params.get("limit", "20")
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= 100):
        raise Refusal("invalid", "invalid_request", "limit must be between 1 and 100.", param="limit")
    return int(text)
