"""Reads what the AI Gateway answered into an `Answer` and the picture it brought; it never writes a file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from generation.channels.adapters import costs
from generation.channels.adapters.http_json import items, mapping, number, text
from generation.contract import Answer, Part, Usage
from generation.egress import base64_text
from generation.egress.transport import Exchange

_REFUSED = "content-filter"
# Google's own words for a refusal, some of which the gateway files under "other".
_REFUSED_RAW = frozenset(
    {"SAFETY", "PROHIBITED_CONTENT", "BLOCKLIST", "SPII", "RECITATION", "MODEL_ARMOR", "JAILBREAK", "ESCALATION"}
    | {"IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION"}
)
# Under which provider's name Google's signature may stand.
_SIGNERS = ("google", "vertex", "googleVertex")
_UNKNOWN_TYPE = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Reading:
    """An answer whose `image` is still to be filled from `base64`: the chosen picture's, or the marker of its file."""

    answer: Answer
    base64: str | None
    mime_type: str


def read_language(body: Any, exchange: Exchange) -> Reading:
    """What a language model's answer says. Raises ValueError for what is no complete one."""
    document = mapping(body)
    content = document.get("content")
    if not isinstance(content, list):
        raise ValueError("the answer has no content")
    parts = [mapping(part) for part in content]
    images = [part for part in parts if _is_image(part)]
    finish, reason = _finish(document.get("finishReason"), exchange, has_image=bool(images))
    if not reason and not images:
        raise ValueError("the answer has neither a picture nor a reason for its absence")
    chosen = images[-1] if finish == "ok" else None
    answer = Answer(
        finish=finish,
        finish_reason=reason,
        text="".join(exchange.text_of(text(part.get("text"))) for part in parts if part.get("type") == "text"),
        parts=tuple(_kept(parts, chosen, exchange)),
        usage=_usage(mapping(document.get("usage")), has_image=bool(images)),
        cost_micros=costs.micros(_gateway(document).get("cost")),
        draft_count=max(len(images) - 1, 0),
        upstream_request_id=_request_id(document, exchange),
    )
    if chosen is None:
        return Reading(answer, None, "")
    return Reading(answer, text(chosen.get("data")), text(chosen.get("mediaType")) or _UNKNOWN_TYPE)


def read_images(body: Any, exchange: Exchange) -> Reading:
    """What an image model's answer says. Raises ValueError for what is no complete one."""
    document = mapping(body)
    images = document.get("images")
    if not isinstance(images, list) or not all(isinstance(image, str) for image in images):
        raise ValueError("the answer has no list of pictures")
    answer = Answer(
        finish="ok" if images else "no_image",
        finish_reason="" if images else _warnings(document, exchange) or "no image",
        usage=_usage(mapping(document.get("usage")), has_image=bool(images)),
        cost_micros=costs.micros(_gateway(document).get("cost")),
        draft_count=max(len(images) - 1, 0),
        upstream_request_id=_request_id(document, exchange),
    )
    return Reading(answer, images[-1] if images else None, _UNKNOWN_TYPE)


def _is_image(part: Mapping[str, Any]) -> bool:
    return part.get("type") == "file" and (text(part.get("mediaType")) or "image/").startswith("image/")


def _finish(value: Any, exchange: Exchange, *, has_image: bool) -> tuple[Literal["ok", "refused", "no_image"], str]:
    """A finish reason is an object of two words, and was one word in earlier versions."""
    unified = text(value) or text(mapping(value).get("unified"))
    raw = exchange.text_of(text(mapping(value).get("raw")) or unified)
    if unified == _REFUSED or raw in _REFUSED_RAW:
        return "refused", raw
    return "ok" if has_image else "no_image", raw


def _kept(parts: Iterable[Mapping[str, Any]], chosen: Mapping[str, Any] | None, exchange: Exchange) -> Iterator[Part]:
    """What a later turn sends back: the words and the one picture, each with its signature."""
    for part in parts:
        signature = _signature(part, exchange)
        if part is chosen:
            yield Part(kind="image", signature=signature)
        elif part.get("type") == "text" and (part.get("text") or signature):
            yield Part(kind="text", text=exchange.text_of(text(part.get("text"))), signature=signature)


def _signature(part: Mapping[str, Any], exchange: Exchange) -> bytes:
    """The signature's bytes; none where it is no base64, since a picture is worth more than its next turn."""
    metadata = mapping(part.get("providerMetadata"))
    found = (text(mapping(metadata.get(name)).get("thoughtSignature")) for name in _SIGNERS)
    encoded = next(filter(None, found), "")
    try:
        return exchange.bytes_of(base64_text.decoded(encoded.encode())) if encoded else b""
    except ValueError:
        return b""


def _warnings(document: Mapping[str, Any], exchange: Exchange) -> str:
    found = (mapping(warning) for warning in items(document.get("warnings")))
    said = (next(filter(None, map(text, map(each.get, ("message", "details", "feature")))), "") for each in found)
    return "; ".join(exchange.text_of(words) for words in said if words)


def _usage(usage: Mapping[str, Any], *, has_image: bool) -> Usage:
    """Tokens of words and pictures are not told apart: all that came out is the picture's where one came."""
    sent, made = usage.get("inputTokens"), usage.get("outputTokens")
    thinking = number(mapping(made).get("reasoning")) or number(usage.get("reasoningTokens"))
    output = number(mapping(made).get("text")) or max(_total(made) - thinking, 0)
    return Usage(
        input_text_tokens=_total(sent),
        output_text_tokens=0 if has_image else output,
        output_image_tokens=output if has_image else 0,
        thinking_tokens=thinking,
    )


def _total(tokens: Any) -> int:
    """A count, which is a number for image models and has details for language models."""
    return number(mapping(tokens).get("total")) or number(tokens)


def _gateway(document: Mapping[str, Any]) -> Mapping[str, Any]:
    return mapping(mapping(document.get("providerMetadata")).get("gateway"))


def _request_id(document: Mapping[str, Any], exchange: Exchange) -> str:
    found = text(_gateway(document).get("generationId")) or text(mapping(document.get("response")).get("id"))
    return exchange.text_of(found)
