"""The images themselves: with a key, or by a signed link. Streamed from storage, bytes as they came."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from django.http import HttpRequest, HttpResponseBase, StreamingHttpResponse
from django.views.decorators.csrf import csrf_exempt
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from generation import media, queries
from generation.contract import Refusal
from generation.dialects import door
from generation.dialects.native import errors
from generation.dialects.native.views import ERRORS, NativeView, call


class ContentView(NativeView):
    """The image of an output, for the key of its account and mode."""

    @extend_schema(operation_id="outputs_content", responses={(200, "image/*"): bytes, **ERRORS})
    def get(self, request: Request, output_id: str) -> Response:
        response = Response(None)
        response.media = queries.media_of(self.requester, output_id)  # type: ignore[attr-defined]
        return response


_content = ContentView.as_view()


@csrf_exempt
async def content(request: HttpRequest, output_id: str) -> HttpResponseBase:
    """GET /api/v1/outputs/{id}/content"""
    response = await door.in_thread(call, _content, request, output_id=output_id)
    if response.status_code != 200:
        return response
    return await _answer(response.media)  # type: ignore[attr-defined]


content.cls, content.initkwargs = ContentView, {}  # type: ignore[attr-defined]


async def signed_link(request: HttpRequest, output_id: str) -> HttpResponseBase:
    """GET /m/{output id}?expires=...&signature=...: the link is the credential, cookies and keys are not read."""
    if not media.is_signed(output_id, request.GET.get("expires", ""), request.GET.get("signature", "")):
        return errors.plain(
            Refusal(
                "forbidden",
                "link_expired",
                "This link is not valid, or no longer. Get the generation again for a fresh one.",
            )
        )
    row = await door.in_thread(queries.media_by_link, output_id)
    if row is None:
        return errors.plain(Refusal("not_found", "output_not_found", "There is no image here."))
    return await _answer(row)


async def _answer(row: Any) -> HttpResponseBase:
    """The image, or the plain word that its file is gone: never a success without a body."""
    if not await door.in_thread(media.exists, row.storage_name):
        return errors.plain(Refusal("gone", "image_gone", "The stored image is no longer there."))
    return _stream(row)


def _stream(row: Any) -> HttpResponseBase:
    response = StreamingHttpResponse(_chunks(row.storage_name), content_type=row.mime_type)
    response["Content-Length"] = str(row.byte_count)
    response["ETag"] = f'"{row.sha256}"'
    extension = media.EXTENSIONS.get(row.mime_type, "bin")
    response["Content-Disposition"] = f'inline; filename="{row.output.public_id}.{extension}"'
    response["Cache-Control"] = "private, max-age=3600, immutable"
    response["Content-Security-Policy"] = "default-src 'none'; sandbox"
    response["Cross-Origin-Resource-Policy"] = "same-site"
    response["Referrer-Policy"] = "no-referrer"
    return response


async def _chunks(name: str) -> AsyncIterator[bytes]:
    """Read in the door's threads: storage may be slow, and the event loop must not wait for it."""
    pieces = media.chunks(name)
    while piece := await door.in_thread(next, pieces, b""):
        yield piece
