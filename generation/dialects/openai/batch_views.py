"""`/batches`: handed in, looked at, listed, cancelled; and the files of their results."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from functools import partial
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse, StreamingHttpResponse

from accounts.identifiers import parse_public_id, public_id
from generation import batches, uploads
from generation.batches import Summary
from generation.contract import Refusal, invalid
from generation.dialects import admission, batch_results, coroutines, door, strict_json
from generation.dialects.coroutines import view
from generation.dialects.fields import Fields, storable
from generation.dialects.openai import base, batch_lines, errors, file_views

_DOOR = "openai"
_WORDS = {"canceling": "cancelling", "canceled": "cancelled", "expiring": "finalizing"}


def _created(request: HttpRequest) -> HttpResponseBase:
    requester = base.requester_of(request, "generate")
    fields = Fields(strict_json.read_object(request))
    fields.only("input_file_id", "endpoint", "completion_window", "metadata")
    fields.choice("completion_window", ("24h",))
    url = fields.choice("endpoint", batch_lines.ENDPOINTS)
    if not url:
        raise invalid("endpoint", f"This is one of {', '.join(batch_lines.ENDPOINTS)}.")
    file = uploads.found(requester, file_views.name_of(fields.text("input_file_id")))
    if file.purpose != "batch":
        raise invalid("input_file_id", "A file for batches is sent with the purpose batch.")
    metadata = _metadata(fields)
    said = json.dumps([_DOOR, url, file.name, file.sha256, metadata])
    order = batches.Order(
        _DOOR,
        url,
        hashlib.sha256(said.encode()).hexdigest(),
        metadata=metadata,
        input_file=file.name,
        idempotency_key=admission.idempotency_key(request),
        is_sent_again=base.is_sent_again(request),
    )
    lines = batch_lines.read(request, requester, url, uploads.lines(requester, file.name))
    batch_id = batches.create(requester, order, lines, now=datetime.now(UTC))
    return batch_results.told(JsonResponse(_shown(batches.find(requester, _DOOR, batch_id))), batch_id)


def _metadata(fields: Fields) -> dict[str, str]:
    found = fields.object("metadata")
    if len(list(found)) > 16:
        raise invalid("metadata", "At most 16 entries.")
    return {storable(name, "metadata")[:64]: found.text(name)[:512] for name in found}


def _listed(request: HttpRequest) -> HttpResponse:
    requester = base.requester_of(request)
    text, after = request.GET.get("limit") or "20", request.GET.get("after", "")
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= 100):
        raise invalid("limit", "This is a whole number from 1 to 100.")
    limit, last = int(text), parse_public_id("batch", after)
    if after and last is None:
        raise invalid("after", "This is a batch's id.")
    found = batches.listed(requester, _DOOR, limit=limit + 1, after=last)
    data = [_shown(each) for each in found[:limit]]
    ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {"first_id": None, "last_id": None}
    return JsonResponse({"object": "list", "data": data, "has_more": len(found) > limit, **ends})


def _retrieved(request: HttpRequest, name: str) -> HttpResponse:
    return JsonResponse(_shown(batches.find(base.requester_of(request), _DOOR, parse_public_id("batch", name))))


def _cancelled(request: HttpRequest, name: str) -> HttpResponse:
    requester = base.requester_of(request, "generate")
    batch_id = parse_public_id("batch", name)
    return JsonResponse(_shown(batches.cancel(requester, _DOOR, batch_id, now=datetime.now(UTC))))


def _shown(batch: Summary) -> dict[str, Any]:
    """A batch in this door's form."""
    letters = batch_results.letters_of(batch.id)
    faults = [dict(each) for each in batch.faults]
    return {
        "id": public_id("batch", batch.id),
        "object": "batch",
        "endpoint": batch.kind,
        "errors": {"object": "list", "data": faults} if faults else None,
        "input_file_id": f"file-{batch.input_file}",
        "completion_window": "24h",
        "status": _WORDS.get(batch.status, batch.status),
        "output_file_id": f"file-results-{letters}" if batch.has_ended and batch.made_count else None,
        "error_file_id": f"file-errors-{letters}" if batch.has_ended and batch.failed_count else None,
        "created_at": int(batch.created_at.timestamp()),
        "in_progress_at": _moment(batch.started_at),
        "expires_at": _moment(batch.expires_at),
        "finalizing_at": None,
        "completed_at": _ended_as(batch, "completed"),
        "failed_at": _ended_as(batch, "failed"),
        "expired_at": _ended_as(batch, "expired"),
        "cancelling_at": _moment(batch.cancel_requested_at),
        "cancelled_at": _ended_as(batch, "canceled"),
        "request_counts": {
            "total": batch.item_count,
            "completed": batch.made_count,
            "failed": batch.failed_count - batch.left_count,
        },
        "metadata": dict(batch.metadata),
    }


def _moment(at: datetime | None) -> int | None:
    return int(at.timestamp()) if at else None


def _ended_as(batch: Summary, status: str) -> int | None:
    return _moment(batch.ended_at) if batch.status == status else None


def _with_results(request: HttpRequest, kind: str, letters: str) -> Summary:
    """The batch whose results are asked for, if it has such."""
    batch = batches.find(base.requester_of(request), _DOOR, batch_results.id_of(letters))
    if not (batch.has_ended and (batch.made_count if kind == "results" else batch.failed_count)):
        raise Refusal("not_found", "file_not_found", "There is no file of yours with that id.")
    return batch


def _parts(request: HttpRequest, kind: str, batch: Summary) -> tuple[batch_results.Render, batch_results.Wanted]:
    render = partial(batch_lines.result, request, batch)
    return render, batch_lines.is_made if kind == "results" else lambda item: not batch_lines.is_made(item)


@view(errors.answer, "GET")
async def result_content(request: HttpRequest, kind: str, letters: str) -> HttpResponseBase:
    """GET /files/file-results-.../content, and the same of errors"""
    batch = await door.in_thread(_with_results, request, kind, letters)
    lines = batch_results.lines(batch.id, *_parts(request, kind, batch))
    return StreamingHttpResponse(lines, content_type="application/octet-stream")


@view(errors.answer, "GET")
async def result_file(request: HttpRequest, kind: str, letters: str) -> HttpResponseBase:
    """GET /files/file-results-..., and the same of errors"""
    batch = await door.in_thread(_with_results, request, kind, letters)
    file = uploads.File(
        name=f"{kind}-{letters}",
        purpose="batch_output",
        filename=f"{public_id('batch', batch.id)}_{'output' if kind == 'results' else 'error'}.jsonl",
        mime_type="application/jsonl",
        byte_count=await batch_results.byte_count(batch.id, *_parts(request, kind, batch)),
        sha256="",
        created_at=batch.ended_at or batch.created_at,
        expires_at=batches.forgotten_at(batch),
    )
    return JsonResponse(file_views.shown(file))


# /batches, /batches/{name} and /batches/{name}/cancel
all_batches = coroutines.by_method(
    get=coroutines.threaded(errors.answer, "GET", _listed),
    post=coroutines.threaded(errors.answer, "POST", _created, is_intake=True),
)
batch = coroutines.threaded(errors.answer, "GET", _retrieved)
cancel = coroutines.threaded(errors.answer, "POST", _cancelled)
