"""`/chat/completions`: parse, one call, wait, render."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from django.http import HttpRequest, HttpResponseBase

from accounts.authentication import Requester
from generation import queries
from generation.contract import GenerationRequest, OutputOutcome
from generation.dialects import door, making, own_images, sse, streams, strict_json
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
        splice = streams.Splice()
        answer = await body(request, await client.end(), options, splice)
        return client.sent(await streams.answer(request, json.dumps(answer).encode(), splice))


def _take_in(request: HttpRequest) -> tuple[making.Accepted, Options]:
    requester = base.requester_of(request, "generate")
    asked, options = parse(request, requester, strict_json.read_object(request))
    return base.accept(request, requester, asked), options


def parse(request: HttpRequest, requester: Requester, data: Mapping[str, Any]) -> tuple[GenerationRequest, Options]:
    """A body, with what its key and its way in say about the answer."""
    asked, options = chat.parse(
        data,
        own_images.finder(request, requester),
        partial(queries.output_of_conversation, requester),
    )
    is_openrouter = base.is_openrouter(request)
    options = replace(
        options,
        with_usage=options.with_usage or is_openrouter,
        with_links_in_text=_is_inline(request, requester),
    )
    return asked, options


def _is_inline(request: HttpRequest, requester: Requester) -> bool:
    """As the request says, else as the key has it."""
    asked = request.GET.get("inline_images")
    if asked is not None:
        return asked in ("1", "true")
    return requester.api_key is not None and requester.api_key.are_images_inline


async def body(request: HttpRequest, reading: queries.Reading, options: Options, splice: streams.Splice) -> Any:
    """The answer, its image in it as what stands for it."""
    outcome = making.with_image(reading).outcome
    return chat.render(outcome, options, _data_url(splice, reading), _link(request))


def _data_url(splice: streams.Splice, reading: queries.Reading) -> chat.Link:
    return lambda output: f"data:{output.mime_type};base64,{splice.place(reading.files[output.id])}"


def _link(request: HttpRequest) -> chat.Link:
    def link(output: OutputOutcome) -> str:
        return door.image_link(request, output.id)

    return link


async def _events(request: HttpRequest, client: making.Client, options: Options) -> AsyncIterator[bytes]:
    yield sse.comment("at work")
    try:
        async for _ in client.pings():
            yield sse.comment("at work")
        reading = making.with_image(await client.end())
        splice = streams.Splice()
        chunks = chat.chunks(reading.outcome, options, _data_url(splice, reading), _link(request))
        document = b"".join(sse.event(each) for each in chunks)
        await streams.check(splice.files)
        async for piece in streams.stream(splice.cut(document)):
            yield piece
        yield sse.DONE
    except Exception as error:  # noqa: BLE001
        yield sse.event(errors.body(client.said(error), path=request.path))
