"""Pages of the site."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.urls import path


def landing(request: HttpRequest) -> HttpResponse:
    return HttpResponse("Nano Banana Pro")


urlpatterns = [path("", landing, name="landing"), path("playground/", landing, name="playground")]
