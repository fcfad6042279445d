"""`/responses`: parse, one call, wait, render."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from django.http import HttpRequest, HttpResponseBase

from accounts.authentication import Requester
from generation import queries
from generation.contract import GenerationRequest
from generation.dialects import making, own_images, sse, streams, strict_json
from generation.dialects.batched_reads import READINGS
from generation.dialects.coroutines import view
from generation.dialects.openai import base, errors, responses
from generation.dialects.openai.responses import Options


@view(errors.answer, "POST")
async def create(request: HttpRequest) -> HttpResponseBase:
    """POST /responses"""
    client, options = await making.taken_in(request, lambda: _take_in(request))
    with client:
        if options.is_streaming:
            return client.sent(sse.response(_events(client, options)))
        splice = streams.Splice()
        answer = await body(request, await client.end(), options, splice)
        return client.sent(await streams.answer(request, json.dumps(answer).encode(), splice))


def _take_in(request: HttpRequest) -> tuple[making.Accepted, Options]:
    requester = base.requester_of(request, "generate")
    asked, options = parse(request, requester, strict_json.read_object(request))
    return base.accept(request, requester, asked), options


def parse(request: HttpRequest, requester: Requester, data: Mapping[str, Any]) -> tuple[GenerationRequest, Options]:
    """A body of `responses.create`."""
    return responses.parse(data, own_images.finder(request, requester))


async def body(request: HttpRequest, reading: queries.Reading, options: Options, splice: streams.Splice) -> Any:
    """The answer, its image in it as what stands for it."""
    outcome = making.with_image(reading).outcome
    return responses.render(outcome, options, streams.base64_of(splice, reading.files))


async def _events(client: making.Client, options: Options) -> AsyncIterator[bytes]:
    numbered = _numbering()
    first = (await READINGS.read(client.generation_id)).outcome
    for kind in ("created", "in_progress"):
        yield numbered({"type": f"response.{kind}", "response": responses.begun(first, options)})
    splice = streams.Splice()
    try:
        async for _ in client.pings():
            yield sse.comment("at work")
        reading: queries.Reading = making.with_image(await client.end())
        image = streams.base64_of(splice, reading.files)
        document = b"".join(map(numbered, responses.events(reading.outcome, options, image)))
        await streams.check(splice.files)
    except Exception as error:  # noqa: BLE001
        refusal = client.said(error)
        failed = responses.failed(first, options, errors.code_of(refusal), refusal.message)
        document, splice = numbered({"type": "response.failed", "response": failed}), streams.Splice()
    async for piece in streams.stream(splice.cut(document)):
        yield piece


def _numbering() -> Callable[[dict[str, Any]], bytes]:
    numbers = itertools.count()

    def numbered(event: dict[str, Any]) -> bytes:
        return sse.event({**event, "sequence_number": next(numbers)}, name=event["type"])

    return numbered
