"""`/files`: sent ahead, listed, read again, removed."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from django.http import HttpRequest, HttpResponseBase, JsonResponse

from generation import uploads
from generation.contract import Refusal, invalid
from generation.dialects import coroutines, streams
from generation.dialects.openai import base, errors

_PURPOSES = ("batch", "vision", "user_data", "assistants", "evals", "fine-tune")
_LIVES = timedelta(days=30)
_PREFIX = "file-"
_NUMBER = re.compile(r"[0-9]{1,9}")


def _created(request: HttpRequest) -> JsonResponse:
    requester = base.requester_of(request, "generate")
    part = request.FILES.get("file")
    if part is None:
        raise invalid("file", "Send the file as the form's part of that name.", "file_not_found")
    purpose = request.POST.get("purpose", "")
    if purpose not in _PURPOSES:
        raise invalid("purpose", f"This is one of {', '.join(_PURPOSES)}.")
    sending = uploads.Sending(
        purpose, filename=part.name or "", mime_type=part.content_type or "", lives=_lives(request)
    )
    return JsonResponse(shown(uploads.keep(requester, part.read(), sending, now=datetime.now(UTC))))


def _lives(request: HttpRequest) -> timedelta:
    text = request.POST.get("expires_after[seconds]", "")
    if not text:
        return _LIVES
    if not (_NUMBER.fullmatch(text) and 3600 <= int(text) <= _LIVES.total_seconds()):
        raise invalid("expires_after[seconds]", "Between an hour and 30 days.")
    return timedelta(seconds=int(text))


def _listed(request: HttpRequest) -> JsonResponse:
    requester = base.requester_of(request)
    text = request.GET.get("limit") or "100"
    if not (_NUMBER.fullmatch(text) and 1 <= int(text) <= 10_000):
        raise invalid("limit", "This is a whole number from 1 to 10000.")
    limit, after = min(int(text), 1000), request.GET.get("after", "")
    found = uploads.listed(
        requester,
        limit=limit + 1,
        after=name_of(after) if after else "",
        purpose=_purpose(request),
        is_rising=request.GET.get("order") == "asc",
    )
    data = [shown(each) for each in found[:limit]]
    ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {"first_id": None, "last_id": None}
    return JsonResponse({"object": "list", "data": data, "has_more": len(found) > limit, **ends})


def _purpose(request: HttpRequest) -> str:
    purpose = request.GET.get("purpose", "")
    return purpose if purpose in _PURPOSES else "none" if purpose else ""


def _retrieved(request: HttpRequest, name: str) -> JsonResponse:
    return JsonResponse(shown(uploads.found(base.requester_of(request), name_of(name))))


def _deleted(request: HttpRequest, name: str) -> JsonResponse:
    uploads.forget(base.requester_of(request, "generate"), name_of(name))
    return JsonResponse({"id": name, "object": "file", "deleted": True})


def _content(request: HttpRequest, name: str) -> HttpResponseBase:
    requester = base.requester_of(request)
    return streams.download(uploads.stored(requester, name_of(name)))


def name_of(public: str) -> str:
    """The name of a file behind the id that this door shows."""
    if not public.startswith(_PREFIX):
        raise Refusal("not_found", "file_not_found", "There is no file of yours with that id.")
    return public.removeprefix(_PREFIX)


def shown(found: uploads.File) -> dict[str, Any]:
    """A file in this door's form."""
    return {
        "id": f"{_PREFIX}{found.name}",
        "object": "file",
        "bytes": found.byte_count,
        "created_at": int(found.created_at.timestamp()),
        "expires_at": int(found.expires_at.timestamp()),
        "filename": found.filename,
        "purpose": found.purpose,
        "status": "processed",
        "status_details": None,
    }


# /files, /files/{name} and /files/{name}/content
files = coroutines.by_method(
    get=coroutines.threaded(errors.answer, "GET", _listed),
    post=coroutines.threaded(errors.answer, "POST", _created, is_intake=True),
)
file = coroutines.by_method(
    get=coroutines.threaded(errors.answer, "GET", _retrieved),
    delete=coroutines.threaded(errors.answer, "DELETE", _deleted),
)
content = coroutines.threaded(errors.answer, "GET", _content)
