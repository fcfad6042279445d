"""`/chat/completions`: parse, one call, wait, render."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace

from django.http import HttpRequest, HttpResponseBase

from generation import queries
from generation.contract import Outcome, OutputOutcome
from generation.dialects import door, making, own_images, refusals, sse, streams, strict_json
from generation.dialects.coroutines import view
from generation.dialects.openai import base, chat, errors
from generation.dialects.openai.chat import Options


@view(errors.answer, "POST")
async def completions(request: HttpRequest) -> HttpResponseBase:
    """POST /chat/completions"""
    client, options = await making.taken_in(request, lambda: _take_in(request))
    with client:
        if options.is_streaming:
            return client.sent(sse.response(_events(request, client, options)))
        reading = await client.end()
        return client.sent(await _answer(request, reading, options))


def _take_in(request: HttpRequest) -> tuple[making.Accepted, Options]:
    requester = base.requester_of(request, "generate")
    asked, options = chat.parse(strict_json.read_object(request), own_images.finder(request, requester))
    is_openrouter = base.is_openrouter(request)
    options = replace(
        options,
        with_usage=options.with_usage or is_openrouter,
        with_links_in_text=request.GET.get("inline_images") in ("1", "true"),
    )
    return base.accept(request, requester, asked), options


async def _answer(request: HttpRequest, reading: queries.Reading, options: Options) -> HttpResponseBase:
    splice = streams.Splice()
    answer = chat.render(_made(reading), options, _data_url(splice, reading), _link(request))
    return await streams.answer(request, json.dumps(answer).encode(), splice)


def _made(reading: queries.Reading) -> Outcome:
    """The outcome, if it has an image: an answer without one would be sent for again."""
    if not any(each.mime_type for each in reading.outcome.outputs):
        raise refusals.of_outcome(reading.outcome)
    return reading.outcome


def _data_url(splice: streams.Splice, reading: queries.Reading) -> chat.Link:
    return lambda output: f"data:{output.mime_type};base64,{splice.place(reading.files[output.id])}"


def _link(request: HttpRequest) -> chat.Link:
    def link(output: OutputOutcome) -> str:
        return door.image_link(request, output.id)

    return link


async def _events(request: HttpRequest, client: making.Client, options: Options) -> AsyncIterator[bytes]:
    yield sse.comment("at work")
    async for _ in client.pings():
        yield sse.comment("at work")
    try:
        reading = await client.end()
        splice = streams.Splice()
        chunks = chat.chunks(_made(reading), options, _data_url(splice, reading), _link(request))
        document = b"".join(sse.event(each) for each in chunks)
        await streams.check(splice.files)
        async for piece in streams.stream(splice.cut(document)):
            yield piece
        yield sse.DONE
    except Exception as error:  # noqa: BLE001
        yield sse.event(errors.body(refusals.said(error), path=request.path))
