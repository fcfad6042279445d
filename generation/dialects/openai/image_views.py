"""`/images/generations`, `/images/edits` and OpenRouter's `/images`: parse, one call, wait, render."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

from django.http import HttpRequest, HttpResponseBase

from accounts.authentication import Requester
from generation import conversions, queries
from generation.contract import GenerationRequest, OutputOutcome, ReferenceInput, Refusal, invalid
from generation.dialects import door, making, sse, streams, strict_json
from generation.dialects.coroutines import view
from generation.dialects.openai import base, errors, images
from generation.dialects.openai.images import Options
from generation.media import StoredFile

_FILES = ("image", "image[]")
Taken = tuple[making.Accepted, Options]


@view(errors.answer, "POST")
async def generate(request: HttpRequest) -> HttpResponseBase:
    """POST /images/generations, and /images as OpenRouter has it."""
    return await _waited_for(request, _take_in_json)


@view(errors.answer, "POST")
async def edit(request: HttpRequest) -> HttpResponseBase:
    """POST /images/edits"""
    return await _waited_for(request, _take_in_edit)


def parse(request: HttpRequest, requester: Requester, data: Mapping[str, Any]) -> tuple[GenerationRequest, Options]:
    """A JSON body that asks for images."""
    asked, options = images.parse(data)
    return asked, replace(options, is_openrouter=base.is_openrouter(request))


def parse_edit(
    request: HttpRequest, requester: Requester, data: Mapping[str, Any]
) -> tuple[GenerationRequest, Options]:
    """A JSON body that asks for images to be edited, which it names."""
    rest = {name: value for name, value in data.items() if name not in ("images", "mask")}
    return images.parse(rest, images.named(data), is_edit=True)


def _take_in_json(request: HttpRequest) -> Taken:
    requester = base.requester_of(request, "generate")
    asked, options = parse(request, requester, strict_json.read_object(request))
    return base.accept(request, requester, asked), options


def _take_in_edit(request: HttpRequest) -> Taken:
    requester = base.requester_of(request, "generate")
    if request.content_type == "application/json":
        asked, options = parse_edit(request, requester, strict_json.read_object(request))
        return base.accept(request, requester, asked), options
    if request.content_type != "multipart/form-data":
        raise Refusal("media_type", "unsupported_media_type", "Send multipart/form-data, or JSON.")
    fields = {name: str(request.POST[name]) for name in request.POST}
    asked, options = images.parse(images.of_form(fields), _files_of(request), is_edit=True)
    return base.accept(request, requester, asked), options


def _files_of(request: HttpRequest) -> list[ReferenceInput]:
    """The images of a form, in their order."""
    for name in request.FILES:
        if name not in _FILES:
            known = "No image model here takes a mask." if name == "mask" else f"There is no file field {name!r} here."
            raise invalid(str(name)[:80], known, "not_supported")
    found = [part for name in _FILES for part in request.FILES.getlist(name)]
    if not found:
        raise invalid("image", "Send one image or more.", "file_not_found")
    return [ReferenceInput(data=door.bytes_of("image", part)) for part in found]


async def _waited_for(request: HttpRequest, take_in: Any) -> HttpResponseBase:
    client, options = await making.taken_in(request, lambda: take_in(request))
    with client:
        if options.is_streaming:
            return client.sent(sse.response(_events(request, client, options)))
        splice = streams.Splice()
        answer = await body(request, await client.end(), options, splice)
        return client.sent(await streams.answer(request, json.dumps(answer).encode(), splice))


async def _in_format(reading: queries.Reading, options: Options) -> queries.Reading:
    """The reading with its images in the format asked for, as far as that can be."""
    outputs, files = [], dict(reading.files)
    for output in reading.outcome.outputs:
        own_type = output.mime_type
        if own_type is not None and options.mime_type not in ("", own_type):
            files[output.id], own_type = await _converted(files[output.id], own_type, options)
        outputs.append(replace(output, mime_type=own_type))
    return replace(reading, outcome=replace(reading.outcome, outputs=tuple(outputs)), files=files)


async def _converted(file: StoredFile, own_type: str, options: Options) -> tuple[StoredFile, str]:
    try:
        return await door.in_conversion_thread(
            conversions.in_format, file, own_type, options.mime_type, options.compression
        )
    except FileNotFoundError:
        raise streams.Gone from None


async def body(request: HttpRequest, reading: queries.Reading, options: Options, splice: streams.Splice) -> Any:
    """The answer, its images in it as links or as what stands for their base64."""
    reading = await _in_format(making.with_image(reading), options)

    def image(output: OutputOutcome) -> dict[str, str]:
        if options.with_links:
            return {"url": door.image_link(request, output.id)}
        return {"b64_json": splice.place(reading.files[output.id])}

    return images.render(reading.outcome, options, image)


async def _events(request: HttpRequest, client: making.Client, options: Options) -> AsyncIterator[bytes]:
    """One event for each image; comments meanwhile, which keep proxies and clients patient."""
    yield sse.comment("at work")
    try:
        async for _ in client.pings():
            yield sse.comment("at work")
        reading = await _in_format(making.with_image(await client.end()), options)
        for output in reading.outcome.images:
            async for piece in _completed(reading, output, options):
                yield piece
    except Exception as error:  # noqa: BLE001
        yield sse.event(errors.body(client.said(error), path=request.path))


async def _completed(reading: queries.Reading, output: OutputOutcome, options: Options) -> AsyncIterator[bytes]:
    splice = streams.Splice()
    event = images.completed(reading.outcome, output, options, splice.place(reading.files[output.id]))
    await streams.check(splice.files)
    async for piece in streams.stream(splice.cut(sse.event(event, name=event["type"]))):
        yield piece
