"""The native API's views of generations: parse, one call, render. Whoever waits holds no thread and no connection."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime

from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.views.decorators.csrf import csrf_exempt
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.identifiers import public_id
from generation import queries, submission
from generation.contract import Refusal
from generation.dialects import admission, door
from generation.dialects.batched_reads import PROGRESS, READINGS
from generation.dialects.native import answers, errors, rendering, schemas, translate
from generation.dialects.native.base import ERRORS, LIMIT, NativeView, choice_of, limit_of
from generation.dialects.native.bodies import read_create
from generation.waiting import WATCHER

# A stream ends after a while by itself; a client's EventSource connects again and sees the present state.
_STREAM_SECONDS = 600.0
_PING_SECONDS = 15.0
_LOOK_SECONDS = 1.0
_STATUSES = ("queued", "running", "succeeded", "failed", "canceled")


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of a request for a generation. Without a reading, it is to be waited for."""

    generation_id: uuid.UUID
    reading: queries.Reading | None
    with_images: bool


class GenerationsView(NativeView):
    """Accept a request, or list what was accepted."""

    scopes = {"POST": "generate"}

    @extend_schema(
        operation_id="generations_create",
        parameters=[
            OpenApiParameter(
                "Idempotency-Key",
                str,
                OpenApiParameter.HEADER,
                description="The same request under the same key answers the same generation, for 7 days.",
            ),
            OpenApiParameter(
                "Prefer",
                str,
                OpenApiParameter.HEADER,
                description="wait=N waits up to N seconds (120 at most) for the end.",
            ),
        ],
        request={
            "application/json": schemas.GenerationCreateSchema,
            "multipart/form-data": schemas.GenerationCreateSchema,
        },
        responses={
            200: answers.GenerationSchema,
            202: answers.GenerationSchema,
            410: answers.ErrorSchema,
            **ERRORS,
        },
    )
    def post(self, request: Request) -> HttpResponse:
        requester = self.requester
        key = admission.idempotency_key(request._request)
        asked, with_images = read_create(request)
        accepted = submission.accept(requester, asked, now=datetime.now(UTC), idempotency_key=key)
        headers = {"Location": f"/api/v1/generations/{public_id('gen', accepted.generation_id)}"}
        if accepted.is_replay:
            headers["Idempotent-Replayed"] = "true"
        waits = _waits_for(request, accepted)
        found = None if waits else accepted.reading or queries.reading(accepted.generation_id)
        return door.Handed(Asked(accepted.generation_id, found, with_images), headers)

    @extend_schema(
        operation_id="generations_list",
        parameters=[LIMIT, OpenApiParameter("cursor", str), OpenApiParameter("status", str, enum=_STATUSES)],
        responses={200: answers.GenerationListSchema, **ERRORS},
    )
    def get(self, request: Request) -> Response:
        if "response_format" in request.query_params:
            raise Refusal("invalid", "invalid_request", "Lists carry links only.", param="response_format")
        page = queries.outcomes(
            self.requester,
            limit=limit_of(request),
            cursor=request.query_params.get("cursor", ""),
            status=choice_of(request, "status", _STATUSES),
        )
        data = [rendering.as_data(request._request, each) for each in page.data]
        return Response(translate.render_list(data, page.next_cursor))


def _waits_for(request: Request, accepted: submission.Accepted) -> bool:
    """Whether the client prefers to wait, and there is something to wait for: what is repeated may have ended."""
    if not translate.wait_seconds(request.headers.get("Prefer", "")):
        return False
    return not (accepted.is_replay and queries.finished([accepted.generation_id]))


class DetailView(NativeView):
    """One generation as it is now."""

    @extend_schema(
        operation_id="generations_retrieve",
        parameters=[OpenApiParameter("response_format", str, enum=schemas.RESPONSE_FORMATS)],
        responses={200: answers.GenerationSchema, 410: answers.ErrorSchema, **ERRORS},
    )
    def get(self, request: Request, generation_id: str) -> HttpResponse:
        requester = self.requester
        with_images = choice_of(request, "response_format", schemas.RESPONSE_FORMATS, "url") == "b64_json"
        found = queries.reading_of(requester, generation_id)
        return door.Handed(Asked(found.generation_id, found, with_images))


class CancelView(NativeView):
    """Cancel what has not been sent to a channel; what is out still settles."""

    scope = "generate"

    @extend_schema(operation_id="generations_cancel", request=None, responses={200: answers.GenerationSchema, **ERRORS})
    def post(self, request: Request, generation_id: str) -> Response:
        canceled = submission.cancel(self.requester, generation_id, now=datetime.now(UTC))
        return Response(rendering.as_data(request._request, queries.outcome(canceled)))


class FindView(NativeView):
    """Authenticates for the event stream: who asks, and which generation."""

    @extend_schema(operation_id="generations_events", responses={(200, "text/event-stream"): str, **ERRORS})
    def get(self, request: Request, generation_id: str) -> HttpResponse:
        return door.Handed(queries.find(self.requester, generation_id))


_generations, _detail, _find = GenerationsView.as_view(), DetailView.as_view(), FindView.as_view()


@csrf_exempt
async def generations(request: HttpRequest) -> HttpResponseBase:
    """List, or create and, where the client prefers, wait for the one rendering that is sent."""
    if request.method != "POST":
        return await door.in_thread(door.call, _generations, request)
    seconds = translate.wait_seconds(request.headers.get("Prefer", ""))
    if seconds:
        WATCHER.attend()
    handed = await door.in_intake_thread(door.call, _generations, request)
    if not isinstance(handed, door.Handed):
        return handed
    door.let_go(request)
    asked, found = handed.value, handed.value.reading
    if found is None:
        await WATCHER.wait(asked.generation_id, seconds=seconds)
        found = await READINGS.read(asked.generation_id)
        handed["Preference-Applied"] = f"wait={seconds}"
    status = rendering.status_of(found)
    return _with_headers_of(
        handed, await rendering.answer(request, found, status=status, with_images=asked.with_images)
    )


@csrf_exempt
async def detail(request: HttpRequest, generation_id: str) -> HttpResponseBase:
    """GET /api/v1/generations/{id}"""
    handed = await door.ask(_detail, request, generation_id=generation_id)
    if not isinstance(handed, door.Handed):
        return handed
    asked = handed.value
    return _with_headers_of(handed, await rendering.answer(request, asked.reading, with_images=asked.with_images))


def _with_headers_of(handed: HttpResponse, response: HttpResponseBase) -> HttpResponseBase:
    for name, value in handed.items():
        response.headers.setdefault(name, value)
    return response


@csrf_exempt
async def events(request: HttpRequest, generation_id: str) -> HttpResponseBase:
    """The life of a generation as server-sent events: one now, one at each change, the last at its end."""
    handed = await door.in_thread(door.call, _find, request, generation_id=generation_id)
    if not isinstance(handed, door.Handed):
        return handed
    stream = StreamingHttpResponse(_events(request, handed.value), content_type="text/event-stream")
    stream["Cache-Control"] = "no-store"
    stream["X-Accel-Buffering"] = "no"
    return stream


async def _events(request: HttpRequest, generation_id: uuid.UUID) -> AsyncIterator[bytes]:
    told, silent, ends_at = None, 0.0, time.monotonic() + _STREAM_SECONDS
    while not WATCHER.is_closing and time.monotonic() < ends_at:
        state = await PROGRESS.read(generation_id)
        if state != told:
            outcome = (await READINGS.read(generation_id)).outcome
            yield b"event: generation\ndata: " + rendering.as_json(rendering.as_data(request, outcome)) + b"\n\n"
            told, silent = state, time.monotonic()
            if outcome.finished_at:
                return
        if time.monotonic() - silent > _PING_SECONDS:
            yield b": still here\n\n"
            silent = time.monotonic()
        # All streams of a process look at the same moments, so that their looks are batched.
        await WATCHER.wait(generation_id, seconds=_LOOK_SECONDS - time.monotonic() % _LOOK_SECONDS)


door.standing_for(GenerationsView, generations)
door.standing_for(DetailView, detail)
door.standing_for(FindView, events)


@csrf_exempt
async def not_found(request: HttpRequest, path: str = "") -> HttpResponse:
    """Unknown routes below the door answer in the door's own format."""
    return errors.not_found(request)
