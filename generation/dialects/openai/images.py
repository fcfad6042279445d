"""OpenAI's image requests to our words, and outcomes to its answers. Pure Python."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from generation.contract import SIZES, GenerationRequest, Outcome, OutputOutcome, ReferenceInput, Usage, invalid
from generation.dialects import data_urls, sizes, steering
from generation.dialects.fields import Fields

_MAX_N = 10
_MAX_SEED = 2**31 - 1001
_WHOLE_NUMBER = re.compile(r"[0-9]{1,12}")
_FORMATS = ("png", "jpeg", "webp")
_COMPRESSION = 90
_QUALITIES = ("auto", "low", "medium", "high", "standard", "hd")
# Nothing but an explicit size is made in 4K, which costs twice as much.
_SIZE_OF_QUALITY = {"low": "1K", "medium": "1K", "standard": "1K", "high": "2K", "hd": "2K"}
_KNOWN = (
    "model",
    "prompt",
    "n",
    "size",
    "quality",
    "response_format",
    "output_format",
    "output_compression",
    "background",
    "moderation",
    "style",
    "input_fidelity",
    "user",
    "safety_identifier",
    "stream",
    "partial_images",
    "aspect_ratio",
    "image_size",
    "seed",
    "provider",
    "models",
    "service_tier",
    "input_references",
)
# Form fields are text; these are read as JSON would have them.
_WHOLE, _FLAGS = ("n", "seed", "partial_images", "output_compression"), ("stream",)
Image = Callable[[OutputOutcome], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Options:
    """How a request wants to be answered."""

    with_links: bool = False
    is_streaming: bool = False
    quality: str = "high"
    kind: str = "image_generation"
    is_openrouter: bool = False
    mime_type: str = ""
    compression: int = 90


def parse(
    data: Mapping[str, Any], references: Sequence[ReferenceInput] = (), *, is_edit: bool = False
) -> tuple[GenerationRequest, Options]:
    """A body of `images.generate` or, with the images sent along, of `images.edit`."""
    fields = Fields(data)
    fields.only(*_KNOWN)
    _check_what_is_fixed(fields)
    ratio, image_size = _shape(fields)
    quality = fields.choice("quality", _QUALITIES, "auto")
    steered = steering.as_openrouter(fields)
    asked = GenerationRequest(
        prompt=fields.text("prompt"),
        model=steered.model,
        n=fields.whole("n", 1, _MAX_N, "n_out_of_range") or 1,
        aspect_ratio=ratio,
        image_size=image_size or _SIZE_OF_QUALITY.get(quality),
        references=(*references, *_input_references(fields)),
        seed=fields.whole("seed", 0, _MAX_SEED),
        metadata=user_of(fields),
        preferences=steered.preferences,
    )
    compression = fields.whole("output_compression", 0, 100)
    options = Options(
        with_links=fields.choice("response_format", ("b64_json", "url")) == "url",
        is_streaming=fields.flag("stream"),
        quality=quality if quality in ("low", "medium") else "high",
        kind="image_edit" if is_edit else "image_generation",
        mime_type=_mime_type(fields),
        compression=_COMPRESSION if compression is None else compression,
    )
    if options.with_links and options.mime_type:
        raise invalid("output_format", "Links lead to the image as it was made.", "not_supported")
    return asked, options


def _mime_type(fields: Fields) -> str:
    name = fields.choice("output_format", _FORMATS)
    return f"image/{name}" if name else ""


def _check_what_is_fixed(fields: Fields) -> None:
    """What can be asked for as long as it is what comes anyway."""
    fields.choice("background", ("auto", "opaque"))
    fields.choice("moderation", ("auto",))
    fields.choice("input_fidelity", ("high",))
    fields.whole("partial_images", 0, 3)
    fields.lacks("style")


def _shape(fields: Fields) -> tuple[str | None, str | None]:
    """Ratio and size, where the request says any: by name, or by pixels, and not by both in different ways."""
    ratio, image_size = fields.text("aspect_ratio") or None, fields.choice("image_size", SIZES) or None
    size = fields.text("size", "auto")
    if size == "auto":
        return ratio, image_size
    try:
        if size not in SIZES:
            return sizes.agreed(size, ratio, image_size)
    except ValueError as error:
        raise invalid(fields.at("size"), str(error), "image_size_not_supported") from None
    if image_size not in (None, size):
        raise invalid(fields.at("size"), f"{size} contradicts image_size.", "image_size_not_supported")
    return ratio, size


def _input_references(fields: Fields) -> tuple[ReferenceInput, ...]:
    links = [each.object("image_url") for each in fields.objects("input_references")]
    return tuple(data_urls.reference_of(each.text("url"), each.at("url")) for each in links)


def named(data: Mapping[str, Any]) -> tuple[ReferenceInput, ...]:
    """The images that a JSON body of `images.edit` names, by link or as files sent ahead."""
    fields = Fields(data)
    fields.lacks("mask")
    found = tuple(_named(each) for each in fields.objects("images"))
    if not found:
        raise invalid("images", "Name one image or more.", "file_not_found")
    return found


def _named(fields: Fields) -> ReferenceInput:
    fields.only("image_url", "file_id")
    if "file_id" in fields:
        return ReferenceInput(file=fields.text("file_id").removeprefix("file-"))
    return data_urls.reference_of(fields.text("image_url"), fields.at("image_url"))


def user_of(fields: Fields) -> dict[str, str]:
    """Whom the caller says it asks for, kept with the generation."""
    user = fields.text("safety_identifier") or fields.text("user")
    return {"user": user[:200]} if user else {}


def of_form(form: Mapping[str, str]) -> dict[str, Any]:
    """The text fields of a form, as JSON would have them."""
    data: dict[str, Any] = {}
    for name, text in form.items():
        data[name] = text
        if name in _WHOLE and _WHOLE_NUMBER.fullmatch(text.strip()):
            data[name] = int(text)
        elif name in _FLAGS and text in ("true", "false"):
            data[name] = text == "true"
    return data


def render(outcome: Outcome, options: Options, image: Image) -> dict[str, Any]:
    """The answer; `image` says how an output's image stands in it. Images that failed are left out."""
    made = outcome.images
    if options.is_openrouter:
        return _as_openrouter(outcome, made, image)
    return {
        "created": int(outcome.created_at.timestamp()),
        "data": [dict(image(each)) for each in made],
        **_facts(made[0], options),
        "usage": usage_of(made),
    }


def _as_openrouter(outcome: Outcome, made: Sequence[OutputOutcome], image: Image) -> dict[str, Any]:
    usage = [each.usage or Usage() for each in made]
    given, out = sum(each.input_tokens for each in usage), sum(each.output_tokens for each in usage)
    return {
        "created": int(outcome.created_at.timestamp()),
        "data": [{**image(each), "media_type": each.mime_type} for each in made],
        "usage": {
            "prompt_tokens": given,
            "completion_tokens": out,
            "total_tokens": given + out,
            "cost": outcome.price_micros / 1_000_000,
        },
    }


def _facts(output: OutputOutcome, options: Options) -> dict[str, Any]:
    """What is true of the picture, rather than what was asked for."""
    return {
        "background": "opaque",
        "output_format": (output.mime_type or "").removeprefix("image/"),
        "quality": options.quality,
        "size": f"{output.width}x{output.height}",
    }


def usage_of(outputs: Sequence[OutputOutcome]) -> dict[str, Any]:
    """Tokens of all images together."""
    all_usage = [each.usage or Usage() for each in outputs]
    text, images = sum(each.input_text_tokens for each in all_usage), sum(each.input_image_tokens for each in all_usage)
    made = sum(each.output_image_tokens for each in all_usage)
    words = sum(each.output_text_tokens + each.thinking_tokens for each in all_usage)
    return {
        "input_tokens": text + images,
        "output_tokens": made + words,
        "total_tokens": text + images + made + words,
        "input_tokens_details": {"text_tokens": text, "image_tokens": images},
        "output_tokens_details": {"text_tokens": words, "image_tokens": made},
    }


def completed(outcome: Outcome, output: OutputOutcome, options: Options, b64_json: str) -> dict[str, Any]:
    """The event that brings one image of a stream."""
    return {
        "type": f"{options.kind}.completed",
        "b64_json": b64_json,
        "created_at": int(outcome.created_at.timestamp()),
        **_facts(output, options),
        "usage": usage_of([output]),
    }
