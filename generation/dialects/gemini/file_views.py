"""Files: the resumable upload in pieces, listing, reading again, removing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse

from generation import uploads
from generation.contract import Refusal, invalid
from generation.dialects import coroutines, door, streams
from generation.dialects.fields import Fields
from generation.dialects.gemini import base, errors

# As long as Google keeps them.
_LIVES = timedelta(hours=48)
_PURPOSE = "gemini"


def _uploaded(request: HttpRequest) -> HttpResponse:
    """The start of an upload, or, with its address, a piece of it."""
    return _piece(request) if "upload_id" in request.GET else _started(request)


def _started(request: HttpRequest) -> HttpResponse:
    requester = base.requester_of(request, "generate")
    if request.headers.get("X-Goog-Upload-Protocol") != "resumable":
        raise invalid("X-Goog-Upload-Protocol", "Uploads are resumable here.", "not_supported")
    described = Fields(base.body_of(request)).object("file")
    length = request.headers.get("X-Goog-Upload-Header-Content-Length") or str(described.raw("sizeBytes") or 0)
    if not (length.isascii() and length.isdigit() and len(length) < 16):
        raise invalid("X-Goog-Upload-Header-Content-Length", "This is a number of bytes.")
    sending = uploads.Sending(
        _PURPOSE,
        filename=described.text("displayName"),
        mime_type=described.text("mimeType") or request.headers.get("X-Goog-Upload-Header-Content-Type", ""),
        name=described.text("name").removeprefix("files/"),
        lives=_LIVES,
    )
    address = uploads.begin(requester, sending, int(length), now=datetime.now(UTC))
    response = JsonResponse({})
    response["X-Goog-Upload-URL"] = door.absolute(request, f"{request.path}?upload_id={address}")
    response["X-Goog-Upload-Status"] = "active"
    response["X-Goog-Upload-Chunk-Granularity"] = str(uploads.GRANULARITY)
    return response


def _piece(request: HttpRequest) -> HttpResponse:
    """A piece comes without a key: its address is the credential. Its content type says JSON and means nothing."""
    address, commands = request.GET["upload_id"], request.headers.get("X-Goog-Upload-Command", "")
    offset = request.headers.get("X-Goog-Upload-Offset", "0")
    if not (offset.isascii() and offset.isdigit() and len(offset) < 16):
        raise invalid("X-Goog-Upload-Offset", "This is a number of bytes.")
    if "upload" in commands:
        uploads.add(address, int(offset), request.body)
    if "finalize" not in commands:
        response = JsonResponse({})
        response["X-Goog-Upload-Status"] = "active"
        return response
    found = uploads.finish(address, lives=_LIVES, now=datetime.now(UTC))
    response = JsonResponse({"file": shown(request, found)})
    response["X-Goog-Upload-Status"] = "final"
    return response


def _listed(request: HttpRequest) -> JsonResponse:
    requester = base.requester_of(request)
    size = base.number_of(request, "pageSize", 10)
    if not 1 <= size <= 100:
        raise invalid("pageSize", "This is a whole number from 1 to 100.")
    found = uploads.listed(requester, limit=size + 1, after=request.GET.get("pageToken", ""), purpose=_PURPOSE)
    page: dict[str, Any] = {"files": [shown(request, each) for each in found[:size]]}
    if len(found) > size:
        page["nextPageToken"] = found[size - 1].name
    return JsonResponse(page)


def _retrieved(request: HttpRequest, name: str) -> JsonResponse:
    return JsonResponse(shown(request, uploads.found(base.requester_of(request), name)))


def _deleted(request: HttpRequest, name: str) -> JsonResponse:
    uploads.forget(base.requester_of(request, "generate"), name)
    return JsonResponse({})


def _content(request: HttpRequest, name: str) -> HttpResponseBase:
    requester = base.requester_of(request)
    if request.GET.get("alt") != "media":
        raise Refusal("invalid", "invalid_request", "Ask for alt=media.", param="alt")
    return streams.download(uploads.stored(requester, name))


def shown(request: HttpRequest, found: uploads.File) -> dict[str, Any]:
    """A file in this door's form."""
    return {
        "name": f"files/{found.name}",
        "displayName": found.filename,
        "mimeType": found.mime_type,
        "sizeBytes": str(found.byte_count),
        "createTime": base.moment(found.created_at),
        "updateTime": base.moment(found.created_at),
        "expirationTime": base.moment(found.expires_at),
        "sha256Hash": found.sha256,
        "state": "ACTIVE",
        "source": "UPLOADED",
        "uri": door.absolute(request, f"{base.prefix_of(request)}/files/{found.name}"),
    }


# upload/{version}/files, files, files/{name} and files/{name}:download?alt=media
upload = coroutines.threaded(errors.answer, "POST", _uploaded, is_intake=True)
files = coroutines.threaded(errors.answer, "GET", _listed)
file = coroutines.by_method(
    get=coroutines.threaded(errors.answer, "GET", _retrieved),
    delete=coroutines.threaded(errors.answer, "DELETE", _deleted),
)
download = coroutines.threaded(errors.answer, "GET", _content)
