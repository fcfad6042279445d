"""Reads what a chat completion answered into an `Answer` and the picture in it; it never fetches or writes.

Where services put the picture differs: https://openrouter.ai/docs/features/multimodal/image-generation for one; the
others as they were seen on the wire.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from generation.channels.adapters import costs
from generation.channels.adapters.http_json import items, mapping, number, text
from generation.contract import Answer, Part, Usage
from generation.egress.transport import Exchange

# Markdown's picture, and a bare address of one; the base64 of a data URL is a marker by now, or short.
_MARKDOWN = re.compile(r"!\[[^\]]*\]\(\s*((?:data:image/|https?://)[^)\s]+)\s*\)", re.IGNORECASE)
_BARE = re.compile(
    r"data:image/[a-z0-9.+-]+;base64,[A-Za-z0-9+/=_-]+|https?://[^\s)\"'<>]+\.(?:png|jpe?g|webp)(?:\?[^\s)\"'<>]*)?",
    re.IGNORECASE,
)
# What Google's models refuse with, as OpenRouter passes it on beside its own word.
_REFUSED = frozenset(
    {"content_filter", "safety", "prohibited_content", "blocklist", "spii", "recitation", "image_safety"}
    | {"image_prohibited_content", "image_recitation", "model_armor"}
)


@dataclass(frozen=True, slots=True)
class Reading:
    """An answer whose picture is still to be taken from `url`, a link or a data URL; empty where there is none."""

    answer: Answer
    url: str


def error_in(body: Any) -> Mapping[str, Any]:
    """The error of an answer with status 200; empty where it has none."""
    choice = _choice(body)
    found = mapping(body).get("error") or choice.get("error")
    if isinstance(found, str):
        return {"message": found}
    if not found and choice.get("finish_reason") == "error":
        return {"message": "the answer ends with an error"}
    return mapping(found)


def read(body: Any, exchange: Exchange, *, request_id: str) -> Reading:
    """What an answer says. Raises ValueError for what is no chat completion."""
    choice = _choice(body)
    message = mapping(choice.get("message"))
    if not message:
        raise ValueError("the answer has no message")
    content = text(message.get("content"))
    urls = list(_urls(message))
    words = exchange.text_of(_without_pictures(content, urls)) or _words(message)
    reason = exchange.text_of(text(choice.get("native_finish_reason")) or text(choice.get("finish_reason")))
    finish = _finish(choice, message, has_image=bool(urls))
    usage = mapping(mapping(body).get("usage"))
    answer = Answer(
        finish=finish,
        finish_reason=reason if urls or reason.lower() != "stop" else f"{reason}, in words only",
        text=words,
        parts=tuple(_parts(words, message, exchange)) if finish == "ok" else (),
        usage=_usage(usage, has_image=bool(urls)),
        cost_micros=costs.micros(usage.get("cost")),
        draft_count=max(len(urls) - 1, 0),
        upstream_request_id=request_id or exchange.text_of(text(mapping(body).get("id"))),
    )
    return Reading(answer, urls[-1] if finish == "ok" else "")


def _choice(body: Any) -> Mapping[str, Any]:
    return mapping(next(iter(items(mapping(body).get("choices"))), None))


def _finish(choice: Mapping[str, Any], message: Mapping[str, Any], *, has_image: bool) -> Any:
    reasons = {text(choice.get(name)).lower() for name in ("finish_reason", "native_finish_reason")}
    if reasons & _REFUSED or (text(message.get("refusal")) and not has_image):
        return "refused"
    return "ok" if has_image else "no_image"


def _urls(message: Mapping[str, Any]) -> list[str]:
    """Addresses of pictures; the first place that has some counts."""
    content = text(message.get("content"))
    places = (
        _listed(message.get("images")),
        _listed(message.get("content")),
        _MARKDOWN.findall(content),
        _BARE.findall(content),
        _inline(message.get("multi_mod_content")),
    )
    return next((found for found in map(list, places) if found), [])


def _listed(parts: Any) -> Iterator[str]:
    for part in items(parts):
        url = mapping(part).get("image_url")
        address = text(mapping(url).get("url")) or text(url)
        if address.lower().startswith(("data:image/", "https://", "http://")):
            yield address


def _inline(parts: Any) -> Iterator[str]:
    for part in items(parts):
        data = mapping(mapping(part).get("inline_data"))
        if text(data.get("data")):
            yield f"data:{text(data.get('mime_type')) or 'image/png'};base64,{data['data']}"


def _without_pictures(content: str, urls: list[str]) -> str:
    content = _MARKDOWN.sub("", content)
    for url in urls:
        content = content.replace(url, "")
    return content.strip()


def _words(message: Mapping[str, Any]) -> str:
    """The words of an answer in parts, or of one that refuses."""
    parts = [text(mapping(part).get("text")) for part in items(message.get("content"))]
    return "".join(parts) or text(message.get("refusal"))


def _parts(words: str, message: Mapping[str, Any], exchange: Exchange) -> Iterator[Part]:
    details = message.get("reasoning_details")
    signature = b""
    if isinstance(details, list) and details:
        signature = json.dumps(_whole(details, exchange)).encode()
    if words:
        yield Part(kind="text", text=words)
    yield Part(kind="image", signature=signature)


def _whole(value: Any, exchange: Exchange) -> Any:
    """JSON with its lifted strings in their places again."""
    if isinstance(value, str):
        return exchange.text_of(value)
    if isinstance(value, list):
        return [_whole(each, exchange) for each in value]
    if isinstance(value, dict):
        return {name: _whole(each, exchange) for name, each in value.items()}
    return value


def _usage(usage: Mapping[str, Any], *, has_image: bool) -> Usage:
    made = mapping(usage.get("completion_tokens_details"))
    thinking = number(made.get("reasoning_tokens"))
    completion = max(number(usage.get("completion_tokens")) - thinking, 0)
    images = min(number(made.get("image_tokens")), completion) or (completion if has_image else 0)
    return Usage(
        input_text_tokens=number(usage.get("prompt_tokens")),
        output_text_tokens=completion - images,
        output_image_tokens=images,
        thinking_tokens=thinking,
    )
