"""Which answer the fake Gemini API gives to a request under a fault; it neither waits nor touches a socket."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from generation.channels.fakes.faults import STATUSES, UNCOMPOSED, Fault
from generation.channels.fakes.gemini_answers import Composition, error_document
from generation.channels.fakes.gemini_models import described, listed
from generation.channels.fakes.gemini_request import GoogleError, authenticate, find_model, read
from generation.channels.fakes.http import Reply, Request, json_reply
from generation.channels.fakes.studio import Studio

_PATH = re.compile(r"/(?:v1|v1beta|v1alpha)/models(?:/([^/:]+))?(?::(generateContent|streamGenerateContent))?")
_RETRY_INFO = "type.googleapis.com/google.rpc.RetryInfo"
_DEFAULT_PAGE_SIZE = 50


def is_generation(request: Request) -> bool:
    """Whether a request asks for content: only those are counted, recorded and struck by faults."""
    match = _PATH.fullmatch(request.path)
    return request.method == "POST" and match is not None and match[2] is not None


def respond(studio: Studio, request: Request, body: Any, fault: Fault) -> Reply:
    """The complete answer, an error in Google's form included. CPU-bound: it draws."""
    if fault.name in STATUSES:
        return _status_reply(fault)
    if fault.name in UNCOMPOSED:
        return json_reply(200, {})
    try:
        authenticate(request.headers, request.query)
        return _routed(studio, request, body, fault)
    except GoogleError as error:
        return json_reply(error.code, error_document(error))
    except (AttributeError, TypeError, KeyError):
        mistyped = GoogleError(400, "INVALID_ARGUMENT", "Invalid JSON payload received. A field has the wrong type.")
        return json_reply(400, error_document(mistyped))


def _routed(studio: Studio, request: Request, body: Any, fault: Fault) -> Reply:
    match = _PATH.fullmatch(request.path)
    if match and request.method == "GET" and match[2] is None:
        return _models(match[1], request.query)
    if not match or not is_generation(request):
        raise GoogleError(404, "NOT_FOUND", "The requested URL was not found on this server.")
    composition = Composition(studio, read(match[1], body, studio.is_issued), fault)
    if match[2] == "generateContent":
        return json_reply(200, composition.whole())
    return _stream(composition.events(), is_sse=request.query.get("alt") == "sse")


def _models(name: str | None, query: Mapping[str, str]) -> Reply:
    if name:
        return json_reply(200, described(find_model(name)))
    page_size = query.get("pageSize", "")
    count = int(page_size) if page_size.isdecimal() and int(page_size) else _DEFAULT_PAGE_SIZE
    return json_reply(200, listed(count, query.get("pageToken", "")))


def _stream(events: list[list[bytes]], *, is_sse: bool) -> Reply:
    if is_sse:
        pieces = [piece for event in events for piece in (b"data: ", *event, b"\r\n\r\n")]
        return Reply(200, {"Content-Type": "text/event-stream"}, pieces)
    pieces = [piece for event in events for piece in (b",\r\n", *event)]
    return json_reply(200, [b"[", *pieces[1:], b"]"])


def _status_reply(fault: Fault) -> Reply:
    code = int(fault.name)
    if code == 502:
        page = b"<!DOCTYPE html><html><head><title>Error 502 (Server Error)!!1</title></head></html>"
        return Reply(code, {"Content-Type": "text/html; charset=UTF-8"}, [page])
    details = [{"@type": _RETRY_INFO, "retryDelay": fault.retry_delay}] if fault.retry_delay else []
    headers = {"Retry-After": fault.retry_after} if fault.retry_after else {}
    return json_reply(code, error_document(GoogleError(code, *STATUSES[fault.name], details)), headers)
