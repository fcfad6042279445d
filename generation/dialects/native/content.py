"""The images themselves: with a key, or by a signed link. Streamed from storage, bytes as they came."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseNotModified, StreamingHttpResponse
from django.utils.http import parse_etags
from django.views.decorators.csrf import csrf_exempt
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request

from generation import media, queries
from generation.contract import Refusal
from generation.dialects import door, streams
from generation.dialects.native import answers, errors, rendering
from generation.dialects.native.base import ERRORS, NativeView
from generation.media import StoredFile


class ContentView(NativeView):
    """The image of an output, for the key of its account and mode."""

    @extend_schema(
        operation_id="outputs_content",
        responses={(200, "image/*"): bytes, 304: None, 410: answers.ErrorSchema, **ERRORS},
    )
    def get(self, request: Request, output_id: str) -> HttpResponse:
        return door.Handed(queries.media_of(self.requester, output_id))


_content = ContentView.as_view()


@csrf_exempt
async def content(request: HttpRequest, output_id: str) -> HttpResponseBase:
    """GET /api/v1/outputs/{id}/content"""
    return await door.in_thread(_by_key, request, output_id)


door.standing_for(ContentView, content)


def _by_key(request: HttpRequest, output_id: str) -> HttpResponseBase:
    handed = door.call(_content, request, output_id=output_id)
    return _answer(request, handed.value) if isinstance(handed, door.Handed) else handed


@csrf_exempt
async def signed_link(request: HttpRequest, output_id: str) -> HttpResponseBase:
    """GET /m/{output id}?expires=...&signature=...: the link is the credential, cookies and keys are not read."""
    if request.method not in ("GET", "HEAD"):
        response = errors.plain(Refusal("method", "method_not_allowed", "This method is not allowed here."))
        response["Allow"] = "GET, HEAD"
        return response
    if not media.is_signed(output_id, request.GET.get("expires", ""), request.GET.get("signature", "")):
        return errors.plain(
            Refusal(
                "forbidden",
                "link_expired",
                "This link is not valid, or no longer. Get the generation again for a fresh one.",
            )
        )
    return await door.in_thread(_by_link, request, output_id)


def _by_link(request: HttpRequest, output_id: str) -> HttpResponseBase:
    row = queries.media_by_link(output_id)
    if row is None:
        return errors.plain(Refusal("not_found", "output_not_found", "There is no image here."))
    return _answer(request, row)


def _answer(request: HttpRequest, row: Any) -> HttpResponseBase:
    """The image, the word that the client has it, or the plain word that its file is gone."""
    file, etag = StoredFile(row.storage_name, row.byte_count), f'"{row.sha256}"'
    if _is_known(request, etag):
        response: HttpResponseBase = HttpResponseNotModified()
    elif not media.is_whole(file):
        return rendering.image_gone()
    else:
        response = _image(request, file, row.mime_type)
        extension = media.EXTENSIONS.get(row.mime_type, "bin")
        response["Content-Disposition"] = f'inline; filename="{row.output.public_id}.{extension}"'
    response["ETag"] = etag
    response["Cache-Control"] = "private, max-age=3600, immutable"
    response["Content-Security-Policy"] = "default-src 'none'; sandbox"
    response["Cross-Origin-Resource-Policy"] = "same-site"
    response["Referrer-Policy"] = "no-referrer"
    return response


def _is_known(request: HttpRequest, etag: str) -> bool:
    """Whether the client has these bytes already; it may have been told so in a weaker form by what is between us."""
    known = parse_etags(request.headers.get("If-None-Match", ""))
    return "*" in known or etag in (each.removeprefix("W/") for each in known)


def _image(request: HttpRequest, file: StoredFile, mime_type: str) -> HttpResponseBase:
    if settings.NBP_ACCEL_PREFIX and media.is_local(file.name):
        # The front server sends the file; this service has only said that it may.
        accelerated = HttpResponse(content_type=mime_type)
        accelerated["X-Accel-Redirect"] = f"{settings.NBP_ACCEL_PREFIX.rstrip('/')}/{quote(file.name)}"
        return accelerated
    if request.method == "HEAD":
        response: HttpResponseBase = HttpResponse(content_type=mime_type)
    else:
        response = StreamingHttpResponse(streams.plain(file), content_type=mime_type)
    response["Content-Length"] = str(file.byte_count)
    return response
