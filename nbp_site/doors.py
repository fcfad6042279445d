"""Which door a path belongs to: what is refused outside any view leaves in that door's own format."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse

from generation.contract import Refusal
from generation.dialects.ai_gateway import errors as ai_gateway
from generation.dialects.coroutines import Say
from generation.dialects.gemini import errors as gemini
from generation.dialects.native import errors as native_errors
from generation.dialects.openai import errors as openai


def native(request: HttpRequest, refusal: Refusal) -> HttpResponse:
    """In the words of the native door, which the site's own pages fall back on."""
    return native_errors.plain(refusal)


_DOORS: tuple[tuple[str, Say], ...] = (
    ("/api/", native),
    ("/m/", native),
    ("/openai/", openai.answer),
    ("/openrouter/", openai.answer),
    ("/v1/", openai.answer),
    ("/gemini/", gemini.answer),
    ("/v1beta/", gemini.answer),
    ("/upload/", gemini.answer),
    ("/ai-gateway/", ai_gateway.answer),
)


def door_of(path: str) -> Say | None:
    """How the door of this path says a refusal; None for the site's own pages."""
    return next((say for prefix, say in _DOORS if path.startswith(prefix)), None)
