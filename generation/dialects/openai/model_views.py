"""`/models`: the image models on offer, as OpenAI lists models."""

from __future__ import annotations

from datetime import UTC, datetime, time
from typing import Any

from django.http import HttpRequest, JsonResponse

from generation import queries
from generation.contract import Refusal
from generation.dialects import coroutines
from generation.dialects.openai import base, errors


def _models(request: HttpRequest) -> JsonResponse:
    base.requester_of(request)
    data = [_shown(each, each["id"]) for each in queries.image_models(now=datetime.now(UTC))]
    return JsonResponse({"object": "list", "data": data})


def _model(request: HttpRequest, name: str) -> JsonResponse:
    base.requester_of(request)
    for each in queries.image_models(now=datetime.now(UTC)):
        if name == each["id"] or name in each["aliases"]:
            return JsonResponse(_shown(each, name))
    raise Refusal("not_found", "model_not_found", f"There is no image model {name[:120]!r}.", param="model")


def _shown(row: dict[str, Any], name: str) -> dict[str, Any]:
    released = row["released_on"]
    created = int(datetime.combine(released, time(), UTC).timestamp()) if released else 0
    return {"id": name, "object": "model", "created": created, "owned_by": row["provider"]}


# GET /models, and GET /models/{name}; names may have a slash.
models = coroutines.threaded(errors.answer, "GET", _models)
model = coroutines.threaded(errors.answer, "GET", _model)
