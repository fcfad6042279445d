"""Reads what the Images API answered into an `Answer` and the picture it brought; it never fetches or writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from generation.channels.adapters import costs
from generation.channels.adapters.http_json import items, mapping, number, text
from generation.contract import Answer, Usage
from generation.egress.transport import Exchange


@dataclass(frozen=True, slots=True)
class Reading:
    """An answer whose picture is still to be taken: its base64 or the marker of its file, or else a link to it."""

    answer: Answer
    base64: str
    url: str
    mime_type: str


def read(body: Any, exchange: Exchange, *, request_id: str) -> Reading:
    """What an answer says. Raises ValueError for what is none of the Images API."""
    data = mapping(body).get("data")
    if not isinstance(data, list):
        raise ValueError("the answer has no list of pictures")
    found = [each for each in data if text(mapping(each).get("b64_json")) or text(mapping(each).get("url"))]
    usage = mapping(mapping(body).get("usage"))
    answer = Answer(
        finish="ok" if found else "no_image",
        finish_reason="" if found else "no image",
        text=" ".join(exchange.text_of(text(mapping(each).get("text"))) for each in items(data)).strip(),
        usage=_usage(usage, has_image=bool(found)),
        cost_micros=costs.micros(usage.get("cost")),
        draft_count=max(len(found) - 1, 0),
        upstream_request_id=request_id,
    )
    last = mapping(found[-1]) if found else {}
    mime_type = text(last.get("media_type")) or "application/octet-stream"
    return Reading(answer, text(last.get("b64_json")), text(last.get("url")), mime_type)


def _usage(usage: Mapping[str, Any], *, has_image: bool) -> Usage:
    """Tokens by modality where they are told apart; all that came out counts as the picture's where one came."""
    sent, made = mapping(usage.get("input_tokens_details")), mapping(usage.get("output_tokens_details"))
    input_tokens = number(usage.get("input_tokens")) or number(usage.get("prompt_tokens"))
    output_tokens = number(usage.get("output_tokens")) or number(usage.get("completion_tokens"))
    input_images = number(sent.get("image_tokens"))
    output_text = number(made.get("text_tokens"))
    output_images = number(made.get("image_tokens")) or (max(output_tokens - output_text, 0) if has_image else 0)
    return Usage(
        input_text_tokens=max(input_tokens - input_images, 0),
        input_image_tokens=input_images,
        output_text_tokens=max(output_tokens - output_images, 0),
        output_image_tokens=output_images,
    )
