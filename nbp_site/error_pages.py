"""400, 404 and 500 outside any view: in the format of the door that was knocked at."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import render

from generation.contract import Refusal
from generation.dialects import refusals
from nbp_site.doors import door_of

_UNREADABLE = Refusal("invalid", "invalid_request", "The request cannot be read.")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    return _said(request, refusals.not_found(request.path), 404)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    return _said(request, _UNREADABLE, 400)


def fault(request: HttpRequest) -> HttpResponseBase:
    return _said(request, refusals.FAULT, 500)


def _said(request: HttpRequest, refusal: Refusal, status: int) -> HttpResponseBase:
    say = door_of(request.path)
    return say(request, refusal) if say else render(request, f"{status}.html", status=status)
