"""The native API's views: parse, one call, render."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Collection
from datetime import UTC, datetime
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse, StreamingHttpResponse
from django.views.decorators.csrf import csrf_exempt
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.authentication import Requester
from generation import queries, submission
from generation.contract import Refusal
from generation.dialects import door
from generation.dialects.native import answers, errors, schemas, translate
from generation.dialects.native.bodies import read_request
from generation.waiting import WATCHER

# A stream ends after a while by itself; a client's EventSource connects again and sees the present state.
_STREAM_SECONDS = 600.0
_PING_SECONDS = 15.0


class NativeView(APIView):
    """A view of the native door: the requester, and the scope it must have."""

    scope = "read"
    scopes: dict[str, str] = {}

    @property
    def requester(self) -> Requester:
        requester = self.request.auth
        assert isinstance(requester, Requester)
        scope = self.scopes.get(self.request.method or "", self.scope)
        if not requester.may(scope):
            raise Refusal("forbidden", "scope_missing", f"This API key lacks the scope {scope!r}.")
        return requester

    def rendered(self, generation_id: Any) -> dict[str, Any]:
        return render(self.request, generation_id)


def render(request: Request | HttpRequest, generation_id: Any) -> dict[str, Any]:
    """A generation as it is now, with fresh links."""
    http_request = request._request if isinstance(request, Request) else request
    return translate.render(queries.outcome(generation_id), lambda output: door.image_link(http_request, output))


ERRORS = dict.fromkeys((400, 401, 402, 403, 404, 413, 415, 422, 429, 503), answers.ErrorSchema)


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
        responses={200: answers.GenerationSchema, 202: answers.GenerationSchema, **ERRORS},
    )
    def post(self, request: Request) -> Response:
        requester = self.requester
        key = translate.check_idempotency_key(request.headers.get("Idempotency-Key"))
        accepted = submission.accept(requester, read_request(request), now=datetime.now(UTC), idempotency_key=key)
        data = self.rendered(accepted.generation_id)
        headers = {"Location": f"/api/v1/generations/{data['id']}"}
        if accepted.is_replay:
            headers["Idempotent-Replayed"] = "true"
        response = Response(data, status=_status(data), headers=headers)
        response.generation_id = accepted.generation_id  # type: ignore[attr-defined]
        return response

    @extend_schema(
        operation_id="generations_list",
        parameters=[OpenApiParameter("limit", int), OpenApiParameter("cursor", str), OpenApiParameter("status", str)],
        responses={200: answers.GenerationListSchema, **ERRORS},
    )
    def get(self, request: Request) -> Response:
        page = queries.outcomes(
            self.requester,
            limit=limit_of(request),
            cursor=request.query_params.get("cursor", ""),
            status=choice_of(request, "status", _STATUSES),
        )
        data = [translate.render(each, lambda output: door.image_link(request._request, output)) for each in page.data]
        return Response(translate.render_list(data, page.next_cursor))


def _status(data: dict[str, Any]) -> int:
    return 200 if data["finished_at"] else 202


_STATUSES = ("queued", "running", "succeeded", "failed", "canceled")


def choice_of(request: Request, name: str, choices: Collection[str]) -> str:
    """A query parameter that is one of some words, or empty if not given."""
    text = request.query_params.get(name, "")
    if text and text not in choices:
        raise Refusal("invalid", "invalid_request", f"{name} is one of {', '.join(choices)}.", param=name)
    return str(text)


def limit_of(request: Request) -> int:
    """`limit` of a list: 1 to 100, 20 if not given."""
    text = request.query_params.get("limit", "20")
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= 100):
        raise Refusal("invalid", "invalid_request", "limit must be between 1 and 100.", param="limit")
    return int(text)


class DetailView(NativeView):
    """One generation as it is now."""

    @extend_schema(operation_id="generations_retrieve", responses={200: answers.GenerationSchema, **ERRORS})
    def get(self, request: Request, generation_id: str) -> Response:
        return Response(self.rendered(queries.find(self.requester, generation_id)))


class CancelView(NativeView):
    """Cancel what has not been sent to a channel; what is out still settles."""

    scope = "generate"

    @extend_schema(operation_id="generations_cancel", request=None, responses={200: answers.GenerationSchema, **ERRORS})
    def post(self, request: Request, generation_id: str) -> Response:
        return Response(self.rendered(submission.cancel(self.requester, generation_id, now=datetime.now(UTC))))


class FindView(NativeView):
    """Authenticates for the event stream: who asks, and which generation."""

    @extend_schema(operation_id="generations_events", responses={(200, "text/event-stream"): str, **ERRORS})
    def get(self, request: Request, generation_id: str) -> Response:
        found = queries.find(self.requester, generation_id)
        response = Response(None)
        response.generation_id = found  # type: ignore[attr-defined]
        return response


_generations, _find = GenerationsView.as_view(), FindView.as_view()


def call(view: Any, request: HttpRequest, **kwargs: Any) -> HttpResponse:
    """Run a DRF view to its rendered end, in the thread that will give the database connection back."""
    response: HttpResponse = view(request, **kwargs)
    if isinstance(response, Response) and not response.is_rendered:
        response.render()
    return response


@csrf_exempt
async def generations(request: HttpRequest) -> HttpResponseBase:
    """List, or create and, where the client prefers, wait: without a thread and without a database connection."""
    in_thread = door.in_intake_thread if request.method == "POST" else door.in_thread
    response = await in_thread(call, _generations, request)
    generation_id = getattr(response, "generation_id", None)
    seconds = translate.wait_seconds(request.headers.get("Prefer", ""))
    if response.status_code != 202 or generation_id is None or not seconds:
        return response
    await WATCHER.wait(generation_id, seconds=seconds)
    data = await door.in_thread(render, request, generation_id)
    response.content = JSONRenderer().render(data)
    response.status_code = _status(data)
    response["Preference-Applied"] = f"wait={seconds}"
    return response


@csrf_exempt
async def events(request: HttpRequest, generation_id: str) -> HttpResponseBase:
    """The life of a generation as server-sent events: one now, one at each change, the last at its end."""
    response = await door.in_thread(call, _find, request, generation_id=generation_id)
    if response.status_code != 200:
        return response
    stream = StreamingHttpResponse(_events(request, response.generation_id), content_type="text/event-stream")  # type: ignore[attr-defined]
    stream["Cache-Control"] = "no-store"
    stream["X-Accel-Buffering"] = "no"
    return stream


async def _events(request: HttpRequest, generation_id: Any) -> AsyncIterator[bytes]:
    told, silent, ends_at = None, 0.0, time.monotonic() + _STREAM_SECONDS
    while not WATCHER.is_closing and time.monotonic() < ends_at:
        state = await door.in_thread(queries.progress, generation_id)
        if state != told:
            data = await door.in_thread(render, request, generation_id)
            yield b"event: generation\ndata: " + JSONRenderer().render(data) + b"\n\n"
            told, silent = state, time.monotonic()
            if data["finished_at"]:
                return
        if time.monotonic() - silent > _PING_SECONDS:
            yield b": still here\n\n"
            silent = time.monotonic()
        await WATCHER.wait(generation_id, seconds=1.0)


# The schema generator reads the DRF views behind the async ones.
generations.cls, generations.initkwargs = GenerationsView, {}  # type: ignore[attr-defined]
events.cls, events.initkwargs = FindView, {}  # type: ignore[attr-defined]


@csrf_exempt
def not_found(request: HttpRequest, path: str = "") -> JsonResponse:
    """Unknown routes below the door answer in the door's own format."""
    return errors.not_found(request)
