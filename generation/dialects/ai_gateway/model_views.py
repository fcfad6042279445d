"""`language-model` and `image-model`: parse, one call, wait, render in the version asked for."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

from django.http import HttpRequest, HttpResponseBase

from generation import queries
from generation.contract import Outcome
from generation.dialects import making, own_images, refusals, sse, streams, strict_json
from generation.dialects.ai_gateway import base, errors, images, language
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
        reading = await client.end()
        splice = streams.Splice()
        answer = language.render(_made(reading.outcome), how, _base64(splice, reading))
        return client.sent(await streams.answer(request, json.dumps(answer).encode(), splice))


def _take_in_language(request: HttpRequest) -> tuple[making.Accepted, language.Options]:
    requester = base.requester_of(request, "generate")
    version, model = base.version_of(request, _LANGUAGE_VERSION), base.model_of(request, _LANGUAGE_MODEL)
    body, own = strict_json.read_object(request), own_images.finder(request, requester)
    asked, how = language.parse(body, version, model, own)
    return base.accept(request, requester, asked), how


async def _events(client: making.Client, how: language.Options) -> AsyncIterator[bytes]:
    yield sse.event(language.start(how))
    async for _ in client.pings():
        yield sse.comment("at work")
    splice = streams.Splice()
    parts: Iterable[dict[str, Any]]
    try:
        reading = await client.end()
        parts = list(language.events(_made(reading.outcome), how, _base64(splice, reading)))
        await streams.check(splice.files)
    except Exception as error:  # noqa: BLE001
        refusal = refusals.said(error)
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
        reading = await client.end()
        splice = streams.Splice()
        answer = images.render(_made(reading.outcome), how, _base64(splice, reading))
        return client.sent(await streams.answer(request, json.dumps(answer).encode(), splice))


def _take_in_image(request: HttpRequest) -> tuple[making.Accepted, images.Options]:
    requester = base.requester_of(request, "generate")
    version, model = base.version_of(request, _IMAGE_VERSION), base.model_of(request, _IMAGE_MODEL)
    asked, how = images.parse(strict_json.read_object(request), version, model)
    return base.accept(request, requester, asked), how


def _made(outcome: Outcome) -> Outcome:
    """The outcome, if it has an image: an answer without one would be sent for again."""
    if not any(each.mime_type for each in outcome.outputs):
        raise refusals.of_outcome(outcome)
    return outcome


def _base64(splice: streams.Splice, reading: queries.Reading) -> language.Base64:
    return lambda output: splice.place(reading.files[output.id])
