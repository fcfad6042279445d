"""The address a request came from, and the site's own as it was asked at."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest


def address_of(request: HttpRequest) -> str:
    """The caller's address; the last one a trusted proxy named where we stand behind one."""
    forwarded = request.META.get("HTTP_X_FORWARDED_FOR", "")
    if getattr(settings, "SECURE_PROXY_SSL_HEADER", None) and forwarded:
        return str(forwarded.rsplit(",", 1)[-1].strip())
    return str(request.META.get("REMOTE_ADDR", ""))


def origin_of(request: HttpRequest) -> str:
    """The site's address without a slash at its end."""
    return str(settings.NBP_BASE_URL).rstrip("/") or request.build_absolute_uri("/").rstrip("/")
