"""`models`: the image models on offer, as Google lists models."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.http import HttpRequest, JsonResponse

from generation import queries
from generation.contract import Refusal
from generation.dialects import coroutines
from generation.dialects.gemini import base, errors

_METHODS = ["generateContent", "countTokens", "batchGenerateContent"]
_TOKENS = {"inputTokenLimit": 65536, "outputTokenLimit": 32768}


def _models(request: HttpRequest) -> JsonResponse:
    base.requester_of(request)
    size, start = base.number_of(request, "pageSize", 50), base.number_of(request, "pageToken", 0)
    rows = queries.image_models(now=datetime.now(UTC))
    page: dict[str, Any] = {"models": [_shown(each, each["id"]) for each in rows[start : start + size]]}
    if start + size < len(rows):
        page["nextPageToken"] = str(start + size)
    return JsonResponse(page)


def _model(request: HttpRequest, name: str) -> JsonResponse:
    base.requester_of(request)
    for each in queries.image_models(now=datetime.now(UTC)):
        if name == each["id"] or name in each["aliases"]:
            return JsonResponse(_shown(each, name))
    raise Refusal("not_found", "model_not_found", f"There is no image model {name[:120]!r}.")


def _shown(row: dict[str, Any], name: str) -> dict[str, Any]:
    return {
        "name": f"models/{name}",
        "baseModelId": row["id"],
        "version": "001",
        "displayName": row["title"],
        "description": f"{row['title']} by {row['provider']}: makes and edits images.",
        **_TOKENS,
        "supportedGenerationMethods": _METHODS,
        "thinking": bool(row["thinking_levels"]),
    }


# GET models, and GET models/{name}
models = coroutines.threaded(errors.answer, "GET", _models)
model = coroutines.threaded(errors.answer, "GET", _model)
