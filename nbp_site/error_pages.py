"""400, 404 and 500 outside any view: in the format of the door that was knocked at."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from generation.dialects.native import errors


def _is_api(request: HttpRequest) -> bool:
    return request.path.startswith("/api/")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return errors.not_found(request) if _is_api(request) else render(request, "404.html", status=404)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return errors.bad_request() if _is_api(request) else render(request, "400.html", status=400)


def fault(request: HttpRequest) -> HttpResponse:
    return errors.fault() if _is_api(request) else render(request, "500.html", status=500)
