"""The Responses API with images: input items to our words, outcomes to output items. Pure Python."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from generation.contract import GenerationRequest, Outcome, OutputOutcome, ReferenceInput, Usage, invalid
from generation.dialects import conversation, data_urls, steering
from generation.dialects.conversation import OwnOutput, Turn
from generation.dialects.fields import Fields
from generation.dialects.openai import images
from generation.dialects.openai.chat import EFFORTS, SPEAKERS

_TOOL = "image_generation"
# What the tool has beside the fields of an image request.
_OF_THE_TOOL = ("type", "action", "model", "input_image_mask", "output_format", "output_compression")
_HONOURED = ("size", "quality", "aspect_ratio", "image_size")
_FIXED = ("background", "moderation", "input_fidelity", "partial_images")
Base64 = Callable[[OutputOutcome], str]


@dataclass(frozen=True, slots=True)
class Options:
    """How a request wants to be answered, and what of it the answer repeats."""

    model: str = ""
    is_streaming: bool = False
    previous: str = ""
    instructions: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


def parse(data: Mapping[str, Any], own_output: OwnOutput) -> tuple[GenerationRequest, Options]:
    """A body of `responses.create`. Every model here makes an image, with the tool named or without."""
    fields = Fields(data)
    _check(fields)
    tool = _tool(fields)
    shape, _ = images.parse({name: tool.raw(name) for name in tool if name not in _OF_THE_TOOL} | {"prompt": "x"})
    instructions = fields.text("instructions")
    rules = [Turn("system", instructions)] if instructions else []
    asked = conversation.asked([*rules, *_turns(fields)], own_output, param="input")
    previous, steered = asked.previous or _generation_of(fields), steering.as_openrouter(fields)
    request = GenerationRequest(
        prompt=asked.prompt,
        model=steered.model,
        aspect_ratio=shape.aspect_ratio,
        image_size=shape.image_size,
        references=asked.references,
        previous=previous,
        thinking_level=EFFORTS.get(fields.object("reasoning").text("effort")),
        metadata=images.user_of(fields),
        preferences=steered.preferences,
    )
    options = Options(
        model=request.model,
        is_streaming=fields.flag("stream"),
        previous=fields.text("previous_response_id"),
        instructions=instructions,
        metadata=_metadata(fields),
    )
    return request, options


def _check(fields: Fields) -> None:
    fields.lacks("conversation", "prompt")
    if fields.flag("background"):
        raise invalid("background", "Responses are made while the client waits.", "not_supported")
    kind = fields.object("text").object("format").text("type", "text")
    if kind != "text":
        raise invalid("text.format", "The models here make images, not JSON.", "not_supported")


def _tool(fields: Fields) -> Fields:
    """The image tool, or an empty one."""
    found = Fields({}, "tools")
    for tool in fields.objects("tools"):
        if tool.text("type") != _TOOL:
            raise invalid(tool.at("type"), f"The one tool here is {_TOOL}.", "not_supported")
        tool.lacks("input_image_mask")
        tool.only(*_OF_THE_TOOL, *_HONOURED, *_FIXED)
        tool.choice("output_format", ("png",))
        found = tool
    return found


def _generation_of(fields: Fields) -> str:
    """An earlier response is a generation of ours."""
    name = fields.text("previous_response_id")
    if name and not name.startswith("resp_"):
        raise invalid("previous_response_id", "This is the id of an earlier response.", "output_not_found")
    return f"gen_{name.removeprefix('resp_')}" if name else ""


def _metadata(fields: Fields) -> dict[str, str]:
    metadata = fields.object("metadata")
    return {name: metadata.text(name) for name in metadata}


def _turns(fields: Fields) -> Iterator[Turn]:
    if isinstance(fields.raw("input"), str):
        yield Turn("user", fields.text("input"))
        return
    for item in fields.objects("input"):
        kind = item.text("type", "message")
        if kind == "message":
            yield _message(item)
        elif kind in ("image_generation_call", "item_reference") and item.text("id").startswith("ig_"):
            yield Turn("model", "", (_made_before(item),))
        elif kind not in ("reasoning", "item_reference"):
            raise invalid(item.at("type"), f"An item of kind {kind[:40]!r} is not known here.", "not_supported")


def _made_before(item: Fields) -> ReferenceInput:
    """An image of an earlier answer: as it came back, or by its id, which names one of ours."""
    if "result" in item:
        return ReferenceInput(data=data_urls.decoded(item.text("result"), item.at("result")))
    return ReferenceInput(output=f"out_{item.text('id').removeprefix('ig_')}")


def _message(item: Fields) -> Turn:
    role = item.text("role", "user")
    if role not in SPEAKERS:
        raise invalid(item.at("role"), "This is one of system, developer, user, assistant.")
    if not isinstance(item.raw("content"), list):
        return Turn(SPEAKERS[role], item.text("content"))  # type: ignore[arg-type]
    texts, found = _content(item)
    return Turn(SPEAKERS[role], "\n".join(filter(None, texts)), tuple(found))  # type: ignore[arg-type]


def _content(item: Fields) -> tuple[list[str], list[ReferenceInput]]:
    texts, found = [], []
    for part in item.objects("content"):
        kind = part.text("type")
        if kind in ("input_text", "output_text", "text"):
            texts.append(part.text("text"))
        elif kind == "input_image":
            found.append(_image(part))
        elif kind != "refusal":
            raise invalid(part.at("type"), f"A part of kind {kind[:40]!r} is not known here.", "not_supported")
    return texts, found


def _image(part: Fields) -> ReferenceInput:
    """An image by a link, a data URL, or a file sent ahead."""
    if "file_id" in part:
        return ReferenceInput(file=part.text("file_id").removeprefix("file-"))
    return data_urls.reference_of(part.text("image_url"), part.at("image_url"))


def render(outcome: Outcome, options: Options, image: Base64) -> dict[str, Any]:
    """The finished response."""
    made = outcome.images
    return _response(outcome, options, "completed", list(_items(made, image)), _usage(made))


def begun(outcome: Outcome, options: Options) -> dict[str, Any]:
    """The response of a request that was accepted."""
    return _response(outcome, options, "in_progress", [], None)


def failed(outcome: Outcome, options: Options, code: str, message: str) -> dict[str, Any]:
    """The response of a request that brought no image."""
    response = _response(outcome, options, "failed", [], None)
    return response | {"error": {"code": code, "message": message}}


def _response(
    outcome: Outcome, options: Options, status: str, output: list[dict[str, Any]], usage: dict[str, Any] | None
) -> dict[str, Any]:
    return {
        "id": f"resp_{outcome.id.removeprefix('gen_')}",
        "object": "response",
        "created_at": int(outcome.created_at.timestamp()),
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": options.instructions or None,
        "max_output_tokens": None,
        "model": outcome.model_delivered or options.model or outcome.model,
        "output": output,
        "parallel_tool_calls": False,
        "previous_response_id": options.previous or None,
        "reasoning": {"effort": None, "summary": None},
        "store": True,
        "temperature": None,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [{"type": _TOOL}],
        "top_p": None,
        "truncation": "disabled",
        "usage": usage,
        "metadata": dict(options.metadata),
    }


def _usage(made: Sequence[OutputOutcome]) -> dict[str, Any]:
    all_usage = [each.usage or Usage() for each in made]
    given, out = sum(each.input_tokens for each in all_usage), sum(each.output_tokens for each in all_usage)
    return {
        "input_tokens": given,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": out,
        "output_tokens_details": {"reasoning_tokens": sum(each.thinking_tokens for each in all_usage)},
        "total_tokens": given + out,
    }


def _items(made: Sequence[OutputOutcome], image: Base64) -> Iterator[dict[str, Any]]:
    for output in made:
        yield _call(output, "completed", image(output))
        if output.text:
            yield _words(output, "completed", [_text_part(output.text)])


def _call(output: OutputOutcome, status: str, result: str | None) -> dict[str, Any]:
    return {"type": "image_generation_call", "id": _call_id(output), "status": status, "result": result}


def _call_id(output: OutputOutcome) -> str:
    return f"ig_{output.id.removeprefix('out_')}"


def _words(output: OutputOutcome, status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "message", "id": _message_id(output), "role": "assistant", "status": status, "content": content}


def _message_id(output: OutputOutcome) -> str:
    return f"msg_{output.id.removeprefix('out_')}"


def _text_part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def events(outcome: Outcome, options: Options, image: Base64) -> Iterator[dict[str, Any]]:
    """What a stream says once the images are there; `sequence_number` is the view's to give."""
    place = 0
    for output in outcome.images:
        yield from _call_events(output, place, image)
        place += 1
        if output.text:
            yield from _text_events(output, place)
            place += 1
    yield {"type": "response.completed", "response": render(outcome, options, image)}


def _call_events(output: OutputOutcome, place: int, image: Base64) -> Iterator[dict[str, Any]]:
    where = {"output_index": place, "item_id": _call_id(output)}
    begun_item = _call(output, "in_progress", None)
    yield {"type": "response.output_item.added", "output_index": place, "item": begun_item}
    for step in ("in_progress", "generating", "completed"):
        yield {"type": f"response.image_generation_call.{step}", **where}
    done = _call(output, "completed", image(output))
    yield {"type": "response.output_item.done", "output_index": place, "item": done}


def _text_events(output: OutputOutcome, place: int) -> Iterator[dict[str, Any]]:
    text = output.text or ""
    where = {"output_index": place, "item_id": _message_id(output), "content_index": 0}
    added = _words(output, "in_progress", [])
    yield {"type": "response.output_item.added", "output_index": place, "item": added}
    yield {"type": "response.content_part.added", **where, "part": _text_part("")}
    yield {"type": "response.output_text.delta", **where, "delta": text, "logprobs": []}
    yield {"type": "response.output_text.done", **where, "text": text, "logprobs": []}
    yield {"type": "response.content_part.done", **where, "part": _text_part(text)}
    done = _words(output, "completed", [_text_part(text)])
    yield {"type": "response.output_item.done", "output_index": place, "item": done}
