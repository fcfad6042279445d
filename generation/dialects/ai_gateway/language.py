"""Language models of the AI Gateway: prompts to our words, outcomes to answers of each version. Pure Python."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from generation.contract import GenerationRequest, Outcome, OutputOutcome, ReferenceInput, Usage, invalid
from generation.dialects import conversation, google_options
from generation.dialects.ai_gateway import options
from generation.dialects.ai_gateway.options import Warnings
from generation.dialects.conversation import OwnOutput, Turn
from generation.dialects.fields import Fields
from generation.dialects.signatures import signature_of

_SPEAKERS = {"system": "system", "user": "user", "assistant": "model"}
# Settings that tune words; a picture is not made by them.
_UNTUNED = ("temperature", "topP", "topK", "presencePenalty", "frequencyPenalty", "stopSequences", "reasoning")
Base64 = Callable[[OutputOutcome], str]


@dataclass(frozen=True, slots=True)
class Options:
    """How a request wants to be answered."""

    version: int
    model: str
    warnings: Warnings


def parse(data: Mapping[str, Any], version: int, model: str, own: OwnOutput) -> tuple[GenerationRequest, Options]:
    """A call of a language model, whose model and version stood in headers."""
    fields = Fields(data)
    _check(fields)
    shape = google_options.read(fields.object("providerOptions").object("google"))
    asked = conversation.asked(list(_turns(fields)), own, param="prompt")
    request = GenerationRequest(
        prompt=asked.prompt,
        model=model,
        aspect_ratio=shape.aspect_ratio,
        image_size=shape.image_size,
        references=asked.references,
        previous=asked.previous,
        thinking_level=shape.thinking_level,
        seed=fields.whole("seed", -(2**31), 2**31 - 1),
        metadata=options.user_of(fields),
        tags=options.tags_of(fields),
        preferences=options.preferences_of(fields),
    )
    untuned = tuple(name for name in _UNTUNED if fields.raw(name) not in (None, [], 0))
    warnings = Warnings(version, (*untuned, *options.not_routed(fields)))
    return request, Options(version, model, warnings)


def _check(fields: Fields) -> None:
    if fields.list("tools"):
        raise invalid("tools", "The models here make images and call no tools.", "not_supported")
    if fields.object("responseFormat").text("type", "text") != "text":
        raise invalid("responseFormat", "The models here make images, not JSON.", "not_supported")


def _turns(fields: Fields) -> Iterator[Turn]:
    for message in fields.objects("prompt"):
        role = message.text("role")
        if role not in _SPEAKERS:
            raise invalid(message.at("role"), "This is one of system, user, assistant.", "not_supported")
        if isinstance(message.raw("content"), str):
            yield Turn(_SPEAKERS[role], message.text("content"))  # type: ignore[arg-type]
            continue
        texts, images = _content(message)
        yield Turn(_SPEAKERS[role], "\n".join(filter(None, texts)), tuple(images))  # type: ignore[arg-type]


def _content(message: Fields) -> tuple[list[str], list[ReferenceInput]]:
    texts, images = [], []
    for part in message.objects("content"):
        kind = part.text("type")
        if kind == "text":
            texts.append(part.text("text"))
        elif kind == "file":
            images.append(options.image_of(part))
        elif kind not in ("reasoning", "reasoning-file", "custom"):
            raise invalid(part.at("type"), f"A part of kind {kind[:40]!r} is not known here.", "not_supported")
    return texts, images


def render(outcome: Outcome, how: Options, image: Base64) -> dict[str, Any]:
    """The whole answer; its shape is not checked by the client, and a wrong one breaks it."""
    output = outcome.images[0]
    words = [{"type": "text", "text": output.text}] if output.text else []
    return {
        "content": [*words, _file(output, how, image)],
        "finishReason": _finish(how),
        "usage": _usage(output.usage or Usage(), how),
        "warnings": how.warnings.render(outcome),
        "providerMetadata": _metadata(outcome),
        "response": _response(outcome, how),
    }


def events(outcome: Outcome, how: Options, image: Base64) -> Iterator[dict[str, Any]]:
    """The same as the parts of a stream."""
    output = outcome.images[0]
    yield {"type": "response-metadata", **_response(outcome, how)}
    if output.text:
        yield {"type": "text-start", "id": "0"}
        yield {"type": "text-delta", "id": "0", "delta": output.text}
        yield {"type": "text-end", "id": "0"}
    yield _file(output, how, image)
    yield {
        "type": "finish",
        "finishReason": _finish(how),
        "usage": _usage(output.usage or Usage(), how),
        "providerMetadata": _metadata(outcome),
    }


def start(how: Options, outcome: Outcome | None = None) -> dict[str, Any]:
    """The first part of a stream; `outcome` is that of the request as it was accepted."""
    return {"type": "stream-start", "warnings": how.warnings.render(outcome)}


def failure(message: str, kind: str, status: int, how: Options) -> Iterator[dict[str, Any]]:
    """The last parts of a stream that brought no image."""
    yield {"type": "error", "error": {"message": message, "type": kind, "statusCode": status}}
    yield {"type": "finish", "finishReason": _finish(how, "error", "ERROR"), "usage": _usage(Usage(), how)}


def _file(output: OutputOutcome, how: Options, image: Base64) -> dict[str, Any]:
    data: Any = image(output)
    return {
        "type": "file",
        "mediaType": output.mime_type,
        "data": {"type": "data", "data": data} if how.version == 4 else data,
        "providerMetadata": {"google": {"thoughtSignature": signature_of(output.id)}},
    }


def _finish(how: Options, unified: str = "stop", raw: str = "STOP") -> Any:
    return unified if how.version == 2 else {"unified": unified, "raw": raw}


def _usage(usage: Usage, how: Options) -> dict[str, Any]:
    given, made = usage.input_tokens, usage.output_tokens
    if how.version == 2:
        return {
            "inputTokens": given,
            "outputTokens": made,
            "totalTokens": given + made,
            "reasoningTokens": usage.thinking_tokens,
        }
    return {
        "inputTokens": {"total": given, "noCache": given, "cacheRead": 0, "cacheWrite": 0},
        "outputTokens": {"total": made, "text": made - usage.thinking_tokens, "reasoning": usage.thinking_tokens},
    }


def _metadata(outcome: Outcome) -> dict[str, Any]:
    return {"gateway": options.gateway_metadata(outcome.id, outcome.price_micros)}


def _response(outcome: Outcome, how: Options) -> dict[str, Any]:
    return {"id": outcome.id, "timestamp": timestamp(outcome), "modelId": outcome.model_delivered or how.model}


def timestamp(outcome: Outcome) -> str:
    """When the request was accepted, to the millisecond."""
    return f"{outcome.created_at.strftime('%Y-%m-%dT%H:%M:%S')}.{outcome.created_at.microsecond // 1000:03d}Z"
