"""The API's own pages: the interactive reference and the list of error codes."""

from __future__ import annotations

from csp.decorators import csp_update
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from drf_spectacular.views import SpectacularSwaggerSplitView

from generation.dialects.native.error_codes import ERROR_CODES

# Swagger's own script sets inline styles; the page has no other concession.
docs = csp_update({"style-src": ["'self'", "'unsafe-inline'"]})(
    SpectacularSwaggerSplitView.as_view(url_name="api-schema", http_method_names=["get", "head"])
)


def error_codes(request: HttpRequest) -> HttpResponse:
    """Every error code: what happened, whether it was billed, what to do."""
    return render(request, "api/errors.html", {"error_codes": ERROR_CODES})
