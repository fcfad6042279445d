"""`models/{name}:{verb}`: generateContent, streamGenerateContent and countTokens."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from django.http import HttpRequest, HttpResponseBase, JsonResponse, StreamingHttpResponse

from generation import pricing, queries
from generation.contract import Outcome
from generation.dialects import door, making, own_images, refusals, sse, streams
from generation.dialects.coroutines import view
from generation.dialects.gemini import base, errors, translate
from generation.dialects.gemini.translate import Options

# A thought, which clients leave out of what they show and send back: without a candidate, Google's SDKs would take the
# whole turn for a broken one and leave it out of their history.
_AT_WORK = {"content": {"role": "model", "parts": [{"text": "At work.", "thought": True}]}, "index": 0}
_PING = sse.event({"candidates": [_AT_WORK]})


@view(errors.answer, "POST")
async def verb(request: HttpRequest, name: str, verb: str) -> HttpResponseBase:
    """POST models/{name}:{verb}"""
    found = _VERBS.get(verb)
    if found is None:
        raise refusals.not_found(request.path)
    return await found(request, name)


async def _generate(request: HttpRequest, name: str) -> HttpResponseBase:
    client, options = await making.taken_in(request, lambda: _take_in(request, name))
    with client:
        reading = await client.end()
        return client.sent(await _answer(request, reading, options))


async def _stream(request: HttpRequest, name: str) -> HttpResponseBase:
    is_sse = request.GET.get("alt") == "sse"
    client, options = await making.taken_in(request, lambda: _take_in(request, name))
    with client:
        if is_sse:
            return client.sent(sse.response(_events(client, options)))
        response = StreamingHttpResponse(_array(client, options), content_type="application/json")
        return client.sent(response)


async def _count(request: HttpRequest, name: str) -> HttpResponseBase:
    return await door.in_thread(_counted, request)


def _counted(request: HttpRequest) -> JsonResponse:
    base.requester_of(request)
    return JsonResponse(translate.tokens_of(base.body_of(request), pricing.estimate_tokens))


_VERBS = {"generateContent": _generate, "streamGenerateContent": _stream, "countTokens": _count}


def _take_in(request: HttpRequest, name: str) -> tuple[making.Accepted, Options]:
    requester = base.requester_of(request, "generate")
    asked, options = translate.parse(base.body_of(request), name, own_images.finder(request, requester))
    return making.accept(request, requester, asked), options


def _is_blocked(outcome: Outcome) -> bool:
    return outcome.error is not None and outcome.error["code"] == "content_refused"


async def _answer(request: HttpRequest, reading: queries.Reading, options: Options) -> HttpResponseBase:
    splice = streams.Splice()
    return await streams.answer(request, json.dumps(answer_of(reading, options, splice)).encode(), splice)


def answer_of(reading: queries.Reading, options: Options, splice: streams.Splice) -> dict[str, Any]:
    """The answer of a generation that has ended, its image in it as what stands for it. Raises why there is none."""
    if _is_blocked(reading.outcome):
        return translate.blocked(reading.outcome, options)
    return translate.render(making.with_image(reading).outcome, options, streams.base64_of(splice, reading.files))


async def _segments(client: making.Client, options: Options) -> tuple[list[dict[str, Any]], streams.Splice]:
    """The objects of a stream, in which texts stand for images."""
    splice = streams.Splice()
    try:
        reading = await client.end()
        if _is_blocked(reading.outcome):
            return [translate.blocked(reading.outcome, options)], splice
        image = streams.base64_of(splice, making.with_image(reading).files)
        found = list(translate.events(reading.outcome, options, image))
        await streams.check(splice.files)
        return found, splice
    except Exception as error:  # noqa: BLE001
        return [errors.body(client.said(error))], splice


async def _events(client: making.Client, options: Options) -> AsyncIterator[bytes]:
    """Events without names and comments, which Google's SDK for Python cannot read."""
    async for _ in client.pings():
        yield _PING
    objects, splice = await _segments(client, options)
    document = b"".join(map(sse.event, objects))
    async for piece in streams.stream(splice.cut(document)):
        yield piece


async def _array(client: making.Client, options: Options) -> AsyncIterator[bytes]:
    """One list of all objects, as it comes without `alt=sse`. Blanks meanwhile keep the connection."""
    yield b"["
    async for _ in client.pings():
        yield b" \n"
    objects, splice = await _segments(client, options)
    document = b",\n".join(json.dumps(each).encode() for each in objects) + b"]\n"
    async for piece in streams.stream(splice.cut(document)):
        yield piece
