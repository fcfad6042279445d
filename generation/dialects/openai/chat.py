"""Chat completions with images: messages to our words, outcomes to messages. Pure Python."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from generation.contract import SIZES, GenerationRequest, Outcome, OutputOutcome, ReferenceInput, Usage, invalid
from generation.dialects import conversation, data_urls, steering
from generation.dialects.conversation import Ended, OwnOutput, Turn
from generation.dialects.fields import Fields
from generation.dialects.openai.images import user_of

_MAX_N = 10
SPEAKERS = {"system": "system", "developer": "system", "user": "user", "assistant": "model"}
# Images as old proxies put them into an answer's text; they come back with the history.
_MARKDOWN_IMAGE = re.compile(r"!\[[^\[\]]{0,200}\]\(([^()\s]+)\)")
EFFORTS = {"minimal": "low", "low": "low", "medium": "high", "high": "high"}
Link = Callable[[OutputOutcome], str]


@dataclass(frozen=True, slots=True)
class Options:
    """How a request wants to be answered."""

    model: str = ""
    is_streaming: bool = False
    with_usage: bool = False
    with_links_in_text: bool = False


def parse(
    data: Mapping[str, Any], own_output: OwnOutput, ended: Ended | None = None
) -> tuple[GenerationRequest, Options]:
    """A body of `chat.completions`. What tunes only words is taken and has no effect on a picture."""
    fields = Fields(data)
    _check(fields)
    asked = conversation.asked(list(_turns(fields)), own_output, param="messages", ended=ended)
    shape, steered = fields.object("image_config"), steering.as_openrouter(fields)
    request = GenerationRequest(
        prompt=asked.prompt,
        model=steered.model,
        n=fields.whole("n", 1, _MAX_N, "n_out_of_range") or 1,
        aspect_ratio=shape.text("aspect_ratio") or fields.text("aspect_ratio") or None,
        image_size=shape.choice("image_size", SIZES) or fields.choice("image_size", SIZES) or None,
        references=asked.references,
        previous=asked.previous,
        thinking_level=_thinking_level(fields),
        seed=fields.whole("seed", -(2**31), 2**31 - 1001),
        metadata=user_of(fields),
        preferences=steered.preferences,
        conversation=asked.conversation,
    )
    options = Options(
        model=request.model,
        is_streaming=fields.flag("stream"),
        with_usage=fields.object("stream_options").flag("include_usage"),
    )
    return request, options


def _check(fields: Fields) -> None:
    fields.lacks("tools", "functions", "audio", "prediction", "web_search_options", "stop", "logit_bias")
    modalities = fields.list("modalities")
    if modalities and "image" not in modalities:
        raise invalid("modalities", "The models here make images: name image among the modalities.", "not_supported")
    kind = fields.object("response_format").text("type", "text")
    if kind != "text":
        raise invalid("response_format", "The models here make images, not JSON.", "not_supported")


def _thinking_level(fields: Fields) -> str | None:
    effort = fields.text("reasoning_effort") or fields.object("reasoning").text("effort")
    return EFFORTS.get(effort) if effort else None


def _turns(fields: Fields) -> Iterator[Turn]:
    for message in fields.objects("messages"):
        role = message.text("role")
        if role not in SPEAKERS:
            raise invalid(message.at("role"), "This is one of system, developer, user, assistant.")
        texts, images = _content(message)
        images += [_image(each) for each in message.objects("images")]
        if role == "assistant":
            texts, found = _without_images(texts, message)
            images += found
        yield Turn(SPEAKERS[role], "\n".join(filter(None, texts)), tuple(images))  # type: ignore[arg-type]


def _content(message: Fields) -> tuple[list[str], list[ReferenceInput]]:
    """Texts and images of a message, whose content is a text or a list of parts."""
    if not isinstance(message.raw("content"), list):
        return [message.text("content")], []
    texts, images = [], []
    for part in message.objects("content"):
        kind = part.text("type")
        if kind in ("text", "output_text", "input_text"):
            texts.append(part.text("text"))
        elif kind in ("image_url", "input_image"):
            images.append(_image(part))
        elif kind != "refusal":
            raise invalid(part.at("type"), f"A part of kind {kind[:40]!r} is not known here.", "not_supported")
    return texts, images


def _image(part: Fields) -> ReferenceInput:
    """`image_url` is an object with a URL, or the URL itself."""
    if isinstance(part.raw("image_url"), str):
        return data_urls.reference_of(part.text("image_url"), part.at("image_url"))
    inner = part.object("image_url")
    return data_urls.reference_of(inner.text("url"), inner.at("url"))


def _without_images(texts: Sequence[str], message: Fields) -> tuple[list[str], list[ReferenceInput]]:
    """An answer's text as it comes back, and the images that were written into it."""
    found = [match[1] for text in texts for match in _MARKDOWN_IMAGE.finditer(text)]
    images = [data_urls.reference_of(each, message.at("content")) for each in found if not each.startswith("/")]
    return [_MARKDOWN_IMAGE.sub("", text).strip() for text in texts], images


def render(outcome: Outcome, options: Options, data_url: Link, link: Link) -> dict[str, Any]:
    """The answer: a choice for each image that was made. `data_url` is the image itself, `link` leads to it."""
    made = outcome.images
    return {
        **_head(outcome, options, "chat.completion"),
        "choices": [
            {
                "index": index,
                "finish_reason": "stop",
                "native_finish_reason": "STOP",
                "logprobs": None,
                "message": {
                    "role": "assistant",
                    "content": _text(output, options, link),
                    "refusal": None,
                    "images": [_image_part(data_url(output))],
                },
            }
            for index, output in enumerate(made)
        ],
        "usage": usage_of(made, outcome.price_micros),
    }


def _head(outcome: Outcome, options: Options, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{outcome.id.removeprefix('gen_')}",
        "object": kind,
        "created": int(outcome.created_at.timestamp()),
        "model": outcome.model_delivered or options.model or outcome.model,
        "provider": "nbp",
    }


def _image_part(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}, "index": 0}


def _text(output: OutputOutcome, options: Options, link: Link) -> str:
    """What the model said, and for clients that read nothing else, a link to the image."""
    inline = [f"![image]({link(output)})"] if options.with_links_in_text else []
    return "\n\n".join(filter(None, [output.text, *inline]))


def usage_of(outputs: Sequence[OutputOutcome], price_micros: int) -> dict[str, Any]:
    """Tokens of all images together, and what they cost here in US dollars."""
    all_usage = [each.usage or Usage() for each in outputs]
    given, made = sum(each.input_tokens for each in all_usage), sum(each.output_tokens for each in all_usage)
    return {
        "prompt_tokens": given,
        "completion_tokens": made,
        "total_tokens": given + made,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": sum(each.thinking_tokens for each in all_usage),
            "image_tokens": sum(each.output_image_tokens for each in all_usage),
        },
        "cost": price_micros / 1_000_000,
        "cost_details": {"upstream_inference_cost": None},
    }


def chunks(outcome: Outcome, options: Options, data_url: Link, link: Link) -> Iterator[dict[str, Any]]:
    """The answer as a stream: the role, the words, the image whole, the end, and what it cost where that was asked."""
    head = _head(outcome, options, "chat.completion.chunk")
    made = outcome.images
    for index, output in enumerate(made):
        text = _text(output, options, link)
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
        deltas += [{"content": text}] if text else []
        deltas.append({"role": "assistant", "content": "", "images": [_image_part(data_url(output))]})
        for delta in deltas:
            yield {**head, "choices": [{"index": index, "delta": delta, "finish_reason": None}]}
        end = {"index": index, "delta": {"content": ""}, "finish_reason": "stop", "native_finish_reason": "STOP"}
        yield {**head, "choices": [end]}
    if options.with_usage:
        yield {**head, "choices": [], "usage": usage_of(made, outcome.price_micros)}
