"""`batches`: handed in inline or as a file, looked at, listed, cancelled, removed; and the files of their results."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse, StreamingHttpResponse

from accounts.authentication import Requester
from generation import batches, uploads
from generation.batches import Item, Line, Summary
from generation.contract import Refusal, invalid
from generation.dialects import admission, batch_results, coroutines, door, own_images, streams, strict_json
from generation.dialects.coroutines import view
from generation.dialects.fields import Fields, storable
from generation.dialects.gemini import base, casing, content_views, errors, file_views, translate

_DOOR = "gemini"
# Their results come all at once, with every look.
_MAX_INLINE = 200
_MAX_METADATA = 4000
_TYPE = "type.googleapis.com/google.ai.generativelanguage.v1beta"
_STATES = {
    "validating": "PENDING",
    "in_progress": "RUNNING",
    "canceling": "RUNNING",
    "expiring": "RUNNING",
    "completed": "SUCCEEDED",
    "canceled": "CANCELLED",
    "expired": "EXPIRED",
    "failed": "FAILED",
}


def _created(request: HttpRequest, name: str) -> HttpResponseBase:
    requester = base.requester_of(request, "generate")
    digest = hashlib.sha256(request.body).hexdigest()
    storable(name, "model")
    batch = Fields(base.body_of(request)).object("batch")
    batch.only("displayName", "inputConfig", "priority", "model")
    source = batch.object("inputConfig")
    source.only("requests", "fileName")
    file = uploads.found(requester, _file_name(source)) if "fileName" in source else None
    said = json.dumps([_DOOR, name, digest, file.sha256 if file else ""])
    order = batches.Order(
        _DOOR,
        name[:120],
        hashlib.sha256(said.encode()).hexdigest(),
        title=batch.text("displayName")[:255],
        input_file=file.name if file else "",
        idempotency_key=admission.idempotency_key(request),
    )
    given = _lines_of(requester, file.name) if file else source.object("requests").objects("requests")
    lines = (_line(request, requester, name, each) for each in given)
    if not file and len(source.object("requests").list("requests")) > _MAX_INLINE:
        raise invalid(
            "batch.inputConfig.requests", f"Send more than {_MAX_INLINE} requests as a file.", "too_many_requests"
        )
    batch_id = batches.create(requester, order, lines, now=datetime.now(UTC))
    found = batches.find(requester, _DOOR, batch_id)
    if found.faults:
        raise invalid("batch.inputConfig", found.faults[0]["message"])
    return batch_results.told(JsonResponse(_operation(found)), batch_id)


def _file_name(source: Fields) -> str:
    if "requests" in source:
        raise invalid(source.at("requests"), "Send the requests, or name a file, not both.")
    return source.text("fileName").removeprefix("files/")


def _lines_of(requester: Requester, name: str) -> Iterator[Fields]:
    """The requests of a file, a line each. What is no line is said before anything is made."""
    for number, text in enumerate(uploads.lines(requester, name), start=1):
        if not text.strip():
            continue
        try:
            value = casing.camel(strict_json.loads(text))
        except Refusal as refusal:
            raise invalid(f"line {number}", refusal.message, refusal.code) from None
        if not isinstance(value, Mapping):
            raise invalid(f"line {number}", "A line is a JSON object.", "invalid_json")
        yield Fields(value, f"line {number}")


def _line(request: HttpRequest, requester: Requester, model: str, fields: Fields) -> Line:
    """A request of a batch: a file's has a key, one that is sent along has whatever its sender wants back."""
    fields.only("key", "request", "metadata")
    if "request" not in fields:
        raise invalid(fields.at("request"), "This is the request.")
    metadata = storable(dict(fields.object("metadata").data), fields.at("metadata"))
    if len(json.dumps(metadata)) > _MAX_METADATA:
        raise invalid(fields.at("metadata"), f"At most {_MAX_METADATA} characters.")
    name, asked = fields.text("key")[:512], fields.object("request")
    own_model = asked.text("model").removeprefix("models/") or model
    kept = {"model": own_model, "metadata": metadata}
    try:
        found, _ = translate.parse(asked.data, own_model, own_images.finder(request, requester))
    except Refusal as refusal:
        return Line(name, kept, refusal=refusal)
    return Line(name, kept, found)


def _listed(request: HttpRequest) -> HttpResponse:
    requester = base.requester_of(request)
    size, token = base.number_of(request, "pageSize", 50), request.GET.get("pageToken", "")
    last = batch_results.id_of(token)
    if not 1 <= size <= 100 or (token and last is None):
        raise invalid("pageSize", "This is a whole number from 1 to 100, and pageToken one that was given.")
    found = batches.listed(requester, _DOOR, limit=size + 1, after=last)
    page: dict[str, Any] = {"operations": [_operation(each) for each in found[:size]]}
    if len(found) > size:
        page["nextPageToken"] = batch_results.letters_of(found[size - 1].id)
    return JsonResponse(page)


def _cancelled(request: HttpRequest, letters: str) -> HttpResponse:
    requester = base.requester_of(request, "generate")
    batches.cancel(requester, _DOOR, batch_results.id_of(letters), now=datetime.now(UTC))
    return JsonResponse({})


def _deleted(request: HttpRequest, letters: str) -> HttpResponse:
    batches.hide(base.requester_of(request, "generate"), _DOOR, batch_results.id_of(letters))
    return JsonResponse({})


def _found(request: HttpRequest, letters: str) -> Summary:
    return batches.find(base.requester_of(request), _DOOR, batch_results.id_of(letters))


@view(errors.answer, "GET")
async def retrieved(request: HttpRequest, letters: str) -> HttpResponseBase:
    """GET batches/{letters}: once it has ended, with its results or the name of their file."""
    found = await door.in_thread(_found, request, letters)
    operation, splice = _operation(found), streams.Splice()
    if found.faults:
        operation["error"] = {"code": errors.NUMBERS["INTERNAL"], "message": found.faults[0]["message"]}
    elif found.has_ended:
        output = await _output(found, splice)
        operation["metadata"]["output"] = output
        operation["response"] = {"@type": f"{_TYPE}.GenerateContentBatchOutput", **output}
    return await streams.answer(request, json.dumps(operation).encode(), splice)


async def _output(batch: Summary, splice: streams.Splice) -> dict[str, Any]:
    if batch.input_file:
        return {"responsesFile": f"files/results-{batch_results.letters_of(batch.id)}"}
    results = [await _inline(batch, item, splice) async for item in batch_results.each(batch.id)]
    return {"inlinedResponses": {"inlinedResponses": results}}


async def _inline(batch: Summary, item: Item, splice: streams.Splice) -> dict[str, Any]:
    metadata = item.options.get("metadata")
    return await _result(batch, item, splice) | ({"metadata": metadata} if metadata else {})


async def _in_file(batch: Summary, item: Item, splice: streams.Splice) -> dict[str, Any]:
    return {"key": item.name} | await _result(batch, item, splice)


async def _result(batch: Summary, item: Item, splice: streams.Splice) -> dict[str, Any]:
    """What came of a request: a response, or an error."""
    if item.reading is None and item.refusal is None:
        code = errors.NUMBERS["DEADLINE_EXCEEDED" if batch.status == "expired" else "CANCELLED"]
        return {"error": {"code": code, "message": "The batch ended before this request was begun."}}
    try:
        reading = await batch_results.whole_reading(item)
        options = translate.Options(item.options["model"])
        return {"response": content_views.answer_of(reading, options, splice)}
    except Refusal as refusal:
        return {"error": errors.status(refusal)}


def _operation(batch: Summary) -> dict[str, Any]:
    """A batch as a long-running operation, without its results."""
    name = f"batches/{batch_results.letters_of(batch.id)}"
    pending = batch.item_count - batch.made_count - batch.failed_count
    counts = {
        "requestCount": batch.item_count,
        "successfulRequestCount": batch.made_count,
        "failedRequestCount": batch.failed_count,
        "pendingRequestCount": pending,
    }
    source = {"inputConfig": {"fileName": f"files/{batch.input_file}"}} if batch.input_file else {}
    metadata = {
        "@type": f"{_TYPE}.GenerateContentBatch",
        "name": name,
        "model": f"models/{batch.kind}",
        "displayName": batch.title,
        "state": f"BATCH_STATE_{_STATES[batch.status]}",
        "createTime": base.moment(batch.created_at),
        "updateTime": base.moment(batch.ended_at or batch.cancel_requested_at or batch.started_at or batch.created_at),
        **({"endTime": base.moment(batch.ended_at)} if batch.ended_at else {}),
        "batchStats": {key: str(count) for key, count in counts.items() if count},
        **source,
    }
    return {"name": name, "metadata": metadata, **({"done": True} if batch.has_ended else {})}


def _with_results(request: HttpRequest, letters: str) -> Summary:
    """The batch whose file of results is asked for."""
    found = _found(request, letters)
    if not (found.has_ended and found.input_file):
        raise Refusal("not_found", "file_not_found", "There is no file of yours with that name.")
    return found


@view(errors.answer, "GET")
async def result_content(request: HttpRequest, letters: str) -> HttpResponseBase:
    """GET files/results-{letters}:download?alt=media"""
    batch = await door.in_thread(_with_results, request, letters)
    lines = batch_results.lines(batch.id, partial(_in_file, batch), lambda _: True)
    return StreamingHttpResponse(lines, content_type="application/octet-stream")


@view(errors.answer, "GET")
async def result_file(request: HttpRequest, letters: str) -> HttpResponseBase:
    """GET files/results-{letters}"""
    batch = await door.in_thread(_with_results, request, letters)
    name = f"results-{letters}"
    shown = file_views.shown(
        request,
        uploads.File(
            name=name,
            purpose="",
            filename=batch.title,
            mime_type="application/jsonl",
            byte_count=await batch_results.byte_count(batch.id, partial(_in_file, batch), lambda _: True),
            sha256="",
            created_at=batch.ended_at or batch.created_at,
            expires_at=batches.forgotten_at(batch),
        ),
    )
    download = f"{base.prefix_of(request)}/files/{name}:download?alt=media"
    return JsonResponse(shown | {"source": "GENERATED", "downloadUri": door.absolute(request, download)})


# models/{name}:batchGenerateContent, batches, batches/{letters} and batches/{letters}:cancel
create = coroutines.threaded(errors.answer, "POST", _created, is_intake=True)
all_batches = coroutines.threaded(errors.answer, "GET", _listed)
batch = coroutines.by_method(get=retrieved, delete=coroutines.threaded(errors.answer, "DELETE", _deleted))
cancel = coroutines.threaded(errors.answer, "POST", _cancelled)
