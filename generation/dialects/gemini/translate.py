"""Gemini's `generateContent` to our words, and outcomes to its answers. Pure Python; bodies in camelCase."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from generation.contract import GenerationRequest, Outcome, OutputOutcome, ReferenceInput, Usage, invalid
from generation.dialects import conversation, data_urls, google_options, steering
from generation.dialects.conversation import OwnOutput, Turn
from generation.dialects.fields import Fields, storable
from generation.dialects.signatures import signature_of

_FILE = re.compile(r"^(?:https?://[^/]+(?:/gemini)?/v1(?:beta|alpha)?/)?files/([a-z0-9-]{1,40})$")
_SPEAKERS = {"": "user", "user": "user", "model": "model"}
# An image of an input is counted as this many tokens (https://ai.google.dev/gemini-api/docs/tokens).
_IMAGE_TOKENS = 258
Base64 = Callable[[OutputOutcome], str]


@dataclass(frozen=True, slots=True)
class Options:
    """How a request wants to be answered."""

    model: str


def parse(data: Mapping[str, Any], model: str, own_output: OwnOutput) -> tuple[GenerationRequest, Options]:
    """A body of `generateContent` for the model of the path."""
    fields = Fields(data)
    fields.lacks("cachedContent", "continuationToken")
    config = fields.object("generationConfig")
    _check(config)
    shape = google_options.read(config)
    asked = conversation.asked(turns(fields), own_output, param="contents")
    request = GenerationRequest(
        prompt=asked.prompt,
        model=model,
        aspect_ratio=shape.aspect_ratio,
        image_size=shape.image_size,
        references=asked.references,
        previous=asked.previous,
        search_grounding=_is_grounded(fields),
        thinking_level=shape.thinking_level,
        seed=config.whole("seed", -(2**31), 2**31 - 1),
        metadata=_labels(fields),
        preferences=steering.as_gemini(fields),
    )
    return request, Options(model)


def _check(config: Fields) -> None:
    config.whole("candidateCount", 1, 1)
    config.lacks("responseSchema", "responseJsonSchema", "speechConfig", "stopSequences")
    config.choice("responseMimeType", ("text/plain",))
    config.object("imageConfig").lacks("personGeneration", "outputMimeType", "outputCompressionQuality")


def _is_grounded(fields: Fields) -> bool:
    is_grounded = False
    for tool in fields.objects("tools"):
        tool.only("googleSearch")
        is_grounded = is_grounded or "googleSearch" in tool
    return is_grounded


def _labels(fields: Fields) -> dict[str, str]:
    labels = fields.raw("labels") or {}
    if not isinstance(labels, Mapping) or not all(isinstance(each, str) for each in labels.values()):
        raise invalid("labels", "This is an object of texts.")
    return storable({str(name)[:80]: value[:500] for name, value in list(labels.items())[:16]}, "labels")


def turns(fields: Fields) -> list[Turn]:
    """The conversation of a body; consecutive contents of one role are one turn, as a stream leaves them behind."""
    found: list[Turn] = []
    system = fields.raw("systemInstruction")
    if isinstance(system, str):
        found.append(Turn("system", system))
    elif system is not None:
        found.append(Turn("system", "\n".join(_texts(fields.object("systemInstruction")))))
    for speaker, own in itertools.groupby(_contents(fields), key=lambda turn: turn.speaker):
        same = list(own)
        text = "\n".join(turn.text for turn in same if turn.text)
        found.append(Turn(speaker, text, tuple(image for turn in same for image in turn.images)))
    return found


def _texts(content: Fields) -> Iterator[str]:
    for part in _parts(content):
        yield part.text("text")


def _contents(fields: Fields) -> Iterator[Turn]:
    contents = fields.raw("contents")
    if isinstance(contents, Mapping):
        contents = [contents]
    for content in Fields({"contents": contents}).objects("contents"):
        role = content.text("role")
        if role not in _SPEAKERS:
            raise invalid(content.at("role"), "This is user or model.")
        said = [part for part in _parts(content) if not part.flag("thought")]
        texts, images = [part.text("text") for part in said], [_image(part) for part in said]
        yield Turn(
            _SPEAKERS[role],  # type: ignore[arg-type]
            "\n".join(filter(None, texts)),
            tuple(image for image in images if image is not None),
        )


def _parts(content: Fields) -> Iterator[Fields]:
    parts = content.raw("parts")
    if isinstance(parts, Mapping):
        parts = [parts]
    for part in Fields({"parts": parts}, content.at("")[:-1]).objects("parts"):
        part.lacks("functionCall", "functionResponse", "executableCode", "codeExecutionResult", "videoMetadata")
        yield part


def _image(part: Fields) -> ReferenceInput | None:
    """The image of a part: in the part itself, or a file or link it names."""
    if "inlineData" in part:
        blob = part.object("inlineData")
        return ReferenceInput(data=data_urls.decoded(blob.text("data"), blob.at("data")))
    if "fileData" in part:
        uri = part.object("fileData").text("fileUri")
        name = _FILE.search(uri)
        # By its name it is one of the files that were sent ahead, whatever address this service has.
        return ReferenceInput(file=name[1]) if name else ReferenceInput(url=uri)
    return None


def render(outcome: Outcome, options: Options, image: Base64) -> dict[str, Any]:
    """The answer of a generation that made its image; `image` is its base64."""
    output = outcome.images[0]
    parts = [{"text": output.text}] if output.text else []
    return {
        "candidates": [_candidate(output, [*parts, _picture(output, image)], is_end=True)],
        **_foot(outcome, output, options),
    }


def events(outcome: Outcome, options: Options, image: Base64) -> Iterator[dict[str, Any]]:
    """The same in pieces: the words, then the picture whole, with which it ends."""
    output = outcome.images[0]
    foot = _foot(outcome, output, options)
    if output.text:
        yield {"candidates": [_candidate(output, [{"text": output.text}])], **foot}
    yield {"candidates": [_candidate(output, [_picture(output, image)], is_end=True)], **foot}


def _candidate(output: OutputOutcome, parts: list[dict[str, Any]], *, is_end: bool = False) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": parts}, "index": 0}
    if is_end:
        candidate["finishReason"] = "STOP"
        if output.sources:
            chunks = [{"web": {"uri": each.url, "title": each.title}} for each in output.sources]
            entry = {"renderedContent": output.search_suggestions} if output.search_suggestions else {}
            candidate["groundingMetadata"] = {"groundingChunks": chunks, "searchEntryPoint": entry}
    return candidate


def _picture(output: OutputOutcome, image: Base64) -> dict[str, Any]:
    inline = {"mimeType": output.mime_type, "data": image(output)}
    return {"inlineData": inline, "thoughtSignature": signature_of(output.id)}


def _foot(outcome: Outcome, output: OutputOutcome, options: Options) -> dict[str, Any]:
    return {
        "usageMetadata": usage_of(output.usage or Usage()),
        "modelVersion": outcome.model_delivered or options.model,
        "responseId": outcome.id,
    }


def usage_of(usage: Usage) -> dict[str, Any]:
    """Tokens, as Google counts them."""
    return {
        "promptTokenCount": usage.input_tokens,
        "candidatesTokenCount": usage.output_text_tokens + usage.output_image_tokens,
        "thoughtsTokenCount": usage.thinking_tokens,
        "totalTokenCount": usage.input_tokens + usage.output_tokens,
        "promptTokensDetails": _by_modality(usage.input_text_tokens, usage.input_image_tokens),
        "candidatesTokensDetails": _by_modality(usage.output_text_tokens, usage.output_image_tokens),
    }


def _by_modality(text: int, image: int) -> list[dict[str, Any]]:
    counts = (("TEXT", text), ("IMAGE", image))
    return [{"modality": name, "tokenCount": count} for name, count in counts if count]


def blocked(outcome: Outcome, options: Options) -> dict[str, Any]:
    """The answer to what the provider refused: no candidate, and why."""
    return {
        "promptFeedback": {"blockReason": "PROHIBITED_CONTENT", "safetyRatings": []},
        "usageMetadata": {"promptTokenCount": 0, "totalTokenCount": 0},
        "modelVersion": options.model,
        "responseId": outcome.id,
    }


def tokens_of(data: Mapping[str, Any], estimate: Callable[[str], int]) -> dict[str, Any]:
    """An answer of `countTokens`; `estimate` counts a text's."""
    inner = data.get("generateContentRequest")
    fields = Fields(inner if isinstance(inner, Mapping) else data)
    found = turns(fields)
    text = sum(estimate(turn.text) for turn in found)
    images = _IMAGE_TOKENS * sum(len(turn.images) for turn in found)
    return {"totalTokens": text + images, "promptTokensDetails": _by_modality(text, images)}
