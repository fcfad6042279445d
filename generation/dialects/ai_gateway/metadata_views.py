"""`config` and `credits`: what models there are, and how much is left to spend."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from django.http import HttpRequest, JsonResponse

from generation import queries
from generation.dialects import coroutines
from generation.dialects.ai_gateway import base, errors, options

_LONG_AGO = date(2000, 1, 1)


def _config(request: HttpRequest, version: str) -> JsonResponse:
    base.requester_of(request)
    rows = queries.image_models(now=datetime.now(UTC))
    # Version 1 of the path is the one whose clients speak version 2.
    specification = "v2" if version == "1" else f"v{version}"
    models = [_shown(row, specification, kind) for row in rows for kind in ("language", "image")]
    return JsonResponse({"models": models})


def _shown(row: dict[str, Any], specification: str, kind: str) -> dict[str, Any]:
    name = f"{row['provider']}/{row['id']}"
    return {
        "id": name,
        "name": row["title"],
        "description": f"{row['title']}: makes and edits images.",
        "pricing": None,
        "specification": {"specificationVersion": specification, "provider": row["provider"], "modelId": name},
        "modelType": kind,
    }


def _credit(request: HttpRequest) -> JsonResponse:
    requester = base.requester_of(request, "billing")
    wallet = queries.wallet(requester)
    days = queries.usage(requester, since=_LONG_AGO, until=datetime.now(UTC).date(), group_by="model")
    used = sum(each["price_micros"] for each in days)
    return JsonResponse({"balance": options.cost_of(wallet["available_micros"]), "total_used": options.cost_of(used)})


# GET {base}/config, whose version stands in the path, as no header says it; and GET /v1/credits
config = coroutines.threaded(errors.answer, "GET", _config)
credit = coroutines.threaded(errors.answer, "GET", _credit)
