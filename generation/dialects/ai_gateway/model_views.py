"""`language-model` and `image-model`: parse, one call, wait, render in the version asked for."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

from django.http import HttpRequest, HttpResponseBase

from generation.dialects import making, own_images, sse, streams, strict_json
from generation.dialects.ai_gateway import base, errors, images, language
from generation.dialects.batched_reads import READINGS
from generation.dialects.coroutines import view

_LANGUAGE_VERSION, _LANGUAGE_MODEL = "ai-language-model-specification-version", "ai-language-model-id"
_IMAGE_VERSION, _IMAGE_MODEL = "ai-image-model-specification-version", "ai-model-id"


@view(errors.answer, "POST")
async def language_model(request: HttpRequest) -> HttpResponseBase:
    """POST {base}/language-model"""
    client, how = await making.taken_in(request, lambda: _take_in_language(request))
    with client:
        if request.headers.get("ai-language-model-streaming") == "true":
            return client.sent(sse.response(_events(client, how)))
        reading = making.with_image(await client.end())
        splice = streams.Splice()
        answer = language.render(reading.outcome, how, streams.base64_of(splice, reading.files))
        return client.sent(await streams.answer(request, json.dumps(answer).encode(), splice))


def _take_in_language(request: HttpRequest) -> tuple[making.Accepted, language.Options]:
    requester = base.requester_of(request, "generate")
    version, model = base.version_of(request, _LANGUAGE_VERSION), base.model_of(request, _LANGUAGE_MODEL)
    body, own = strict_json.read_object(request), own_images.finder(request, requester)
    asked, how = language.parse(body, version, model, own)
    return making.accept(request, requester, asked), how


async def _events(client: making.Client, how: language.Options) -> AsyncIterator[bytes]:
    accepted = (await READINGS.read(client.generation_id)).outcome
    yield sse.event(language.start(how, accepted))
    splice = streams.Splice()
    parts: Iterable[dict[str, Any]]
    try:
        async for _ in client.pings():
            yield sse.comment("at work")
        reading = making.with_image(await client.end())
        parts = list(language.events(reading.outcome, how, streams.base64_of(splice, reading.files)))
        await streams.check(splice.files)
    except Exception as error:  # noqa: BLE001
        refusal = client.said(error)
        kind = errors.body(refusal)["error"]["type"]
        parts, splice = language.failure(refusal.message, kind, errors.status_of(refusal), how), streams.Splice()
    async for piece in streams.stream(splice.cut(b"".join(map(sse.event, parts)))):
        yield piece
    yield sse.DONE


@view(errors.answer, "POST")
async def image_model(request: HttpRequest) -> HttpResponseBase:
    """POST {base}/image-model"""
    client, how = await making.taken_in(request, lambda: _take_in_image(request))
    with client:
        reading = making.with_image(await client.end())
        splice = streams.Splice()
        answer = images.render(reading.outcome, how, streams.base64_of(splice, reading.files))
        return client.sent(await streams.answer(request, json.dumps(answer).encode(), splice))


def _take_in_image(request: HttpRequest) -> tuple[making.Accepted, images.Options]:
    requester = base.requester_of(request, "generate")
    version, model = base.version_of(request, _IMAGE_VERSION), base.model_of(request, _IMAGE_MODEL)
    asked, how = images.parse(strict_json.read_object(request), version, model)
    return making.accept(request, requester, asked), how
