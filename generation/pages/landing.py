"""The front page: what this is, what it costs, where to start."""

from __future__ import annotations

from datetime import UTC, datetime

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from accounts.request_address import origin_of
from generation import queries
from generation.contract import SIZES


@require_safe
def landing(request: HttpRequest) -> HttpResponse:
    """GET /"""
    found = queries.image_models(now=datetime.now(UTC))
    for each in found:
        by_size = {
            price["image_size"]: price["image_micros"] for price in each["prices"] if price["lane"] == "standard"
        }
        each["price_columns"] = [{"size": size, "micros": by_size.get(size)} for size in SIZES]
    context = {"image_models": found, "sizes": SIZES, "curl": _curl(request)}
    return render(request, "landing.html", context)


def _curl(request: HttpRequest) -> str:
    origin = origin_of(request)
    return (
        f"curl -sS {origin}/api/v1/generations \\\n"
        "  -H 'Authorization: Bearer nbp_test_...' \\\n"
        "  -H 'Content-Type: application/json' -H 'Prefer: wait=60' \\\n"
        '  -d \'{"prompt": "A nano banana on a marble table, studio light"}\''
    )
