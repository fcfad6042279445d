"""The front page: what this is, what it costs, where to start."""

from __future__ import annotations

from datetime import UTC, datetime

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from generation import queries
from generation.contract import SIZES


@require_safe
def landing(request: HttpRequest) -> HttpResponse:
    """GET /"""
    found = queries.image_models(now=datetime.now(UTC))
    for each in found:
        by_size = {price["image_size"]: price["image_micros"] for price in each["prices"]}
        each["price_columns"] = [by_size.get(size) for size in SIZES]
    origin = request.build_absolute_uri("/").rstrip("/")
    return render(request, "landing.html", {"image_models": found, "sizes": SIZES, "origin": origin})
