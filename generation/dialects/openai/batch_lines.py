"""Lines of a batch: requests for one of the endpoints, read from its input, and their results."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from django.http import HttpRequest

from accounts.authentication import Requester
from generation.batches import Fault, Item, Line, Summary
from generation.contract import GenerationRequest, Refusal, invalid
from generation.dialects import batch_results, streams, strict_json
from generation.dialects.fields import Fields, storable
from generation.dialects.openai import chat, chat_views, errors, image_views, images, response_views, responses


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What a line may be for: how its body is read, and how its answer is written."""

    parse: Callable[[HttpRequest, Requester, Mapping[str, Any]], tuple[GenerationRequest, Any]]
    options: Callable[..., Any]
    body: Callable[..., Awaitable[Any]]


ENDPOINTS = {
    "/v1/images/generations": Endpoint(image_views.parse, images.Options, image_views.body),
    "/v1/images/edits": Endpoint(image_views.parse_edit, images.Options, image_views.body),
    "/v1/chat/completions": Endpoint(chat_views.parse, chat.Options, chat_views.body),
    "/v1/responses": Endpoint(response_views.parse, responses.Options, response_views.body),
}


def read(request: HttpRequest, requester: Requester, url: str, texts: Iterable[bytes]) -> Iterator[Line | Fault]:
    """The requests of an input file. One that this service refuses fails alone; what is no line at all fails all."""
    names: set[str] = set()
    for number, text in enumerate(texts, start=1):
        if not text.strip():
            continue
        try:
            name, body = _line(text, url, names)
        except Refusal as refusal:
            yield Fault(number, refusal.code, refusal.message, refusal.param)
            continue
        yield _asked(request, requester, ENDPOINTS[url], name, body)


def _line(text: bytes, url: str, names: set[str]) -> tuple[str, Mapping[str, Any]]:
    value = strict_json.loads(text)
    if not isinstance(value, Mapping):
        raise invalid("", "A line is a JSON object.", "invalid_json_line")
    fields = Fields(value)
    fields.only("custom_id", "method", "url", "body")
    name = _name(fields, names)
    if fields.text("method") != "POST":
        raise invalid("method", "This is POST.", "invalid_method")
    if fields.text("url") != url:
        raise invalid("url", f"This is {url}, as the batch says.", "invalid_url")
    if "body" not in fields:
        raise invalid("body", "This is the body of the request.", "missing_required_parameter")
    return name, fields.object("body").data


def _name(fields: Fields, names: set[str]) -> str:
    """What the caller knows a line by, which no earlier line is known by."""
    name = fields.text("custom_id")
    if not 1 <= len(name) <= 512:
        raise invalid("custom_id", "1 to 512 characters.", "missing_required_parameter")
    if name in names:
        raise invalid("custom_id", "This stands in an earlier line.", "duplicate_custom_id")
    names.add(name)
    return name


def _asked(request: HttpRequest, requester: Requester, endpoint: Endpoint, name: str, body: Mapping[str, Any]) -> Line:
    try:
        asked, options = endpoint.parse(request, requester, body)
        if options.is_streaming:
            raise invalid("stream", "A batch has no streams.", "not_supported")
        storable(asdict(options), "body")
    except Refusal as refusal:
        return Line(name, refusal=refusal)
    return Line(name, asdict(options), asked)


def is_made(item: Item) -> bool:
    """Whether its result stands in the output file rather than among the errors."""
    return item.reading is not None and bool(item.reading.outcome.images)


async def result(request: HttpRequest, batch: Summary, item: Item, splice: streams.Splice) -> dict[str, Any]:
    """The line of what came of a request."""
    line: dict[str, Any] = {
        "id": f"batch_req_{batch_results.letters_of(batch.id)}_{item.index}",
        "custom_id": item.name,
        "response": None,
        "error": None,
    }
    if item.reading is None and item.refusal is None:
        return line | {"error": _never_begun(batch)}
    try:
        status, body = 200, await _body(request, ENDPOINTS[batch.kind], item, splice)
    except Refusal as refusal:
        status, body = errors.status_of(refusal), errors.body(refusal)
    request_id = item.reading.outcome.id if item.reading is not None else line["id"]
    return line | {"response": {"status_code": status, "request_id": request_id, "body": body}}


async def _body(request: HttpRequest, endpoint: Endpoint, item: Item, splice: streams.Splice) -> Any:
    reading = await batch_results.whole_reading(item)
    return await endpoint.body(request, reading, endpoint.options(**item.options), splice)


def _never_begun(batch: Summary) -> dict[str, str]:
    if batch.status == "expired":
        return {"code": "batch_expired", "message": "This request was not begun within the batch's 24 hours."}
    return {"code": "batch_cancelled", "message": "This request was not begun before the batch was cancelled."}
