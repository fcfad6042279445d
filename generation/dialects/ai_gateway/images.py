"""Image models of the AI Gateway: calls to our words, outcomes to answers. Pure Python."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from generation.contract import SIZES, GenerationRequest, Outcome, OutputOutcome, Usage, invalid
from generation.dialects import sizes
from generation.dialects.ai_gateway import options
from generation.dialects.ai_gateway.options import Warnings
from generation.dialects.fields import Fields

_MAX_N = 10
Base64 = Callable[[OutputOutcome], str]


@dataclass(frozen=True, slots=True)
class Options:
    """How a request wants to be answered."""

    warnings: Warnings


def parse(data: Mapping[str, Any], version: int, model: str) -> tuple[GenerationRequest, Options]:
    """A call of an image model, whose model and version stood in headers."""
    fields = Fields(data)
    fields.lacks("mask")
    ratio, image_size = _shape(fields)
    request = GenerationRequest(
        prompt=fields.text("prompt"),
        model=model,
        n=fields.whole("n", 1, _MAX_N, "n_out_of_range") or 1,
        aspect_ratio=ratio,
        image_size=image_size,
        references=tuple(options.image_of(each) for each in fields.objects("files")),
        seed=fields.whole("seed", 0, 2**31 - 1001),
        metadata=options.user_of(fields),
        tags=options.tags_of(fields),
        preferences=options.preferences_of(fields),
    )
    return request, Options(Warnings(version, tuple(options.not_routed(fields))))


def _shape(fields: Fields) -> tuple[str | None, str | None]:
    """Ratio and size, by name or by pixels."""
    shape = fields.object("providerOptions").object("google").object("imageConfig")
    ratio = fields.text("aspectRatio") or shape.text("aspectRatio") or None
    image_size = shape.choice("imageSize", SIZES) or None
    if "size" not in fields:
        return ratio, image_size
    try:
        return sizes.agreed(fields.text("size"), ratio, image_size)
    except ValueError as error:
        raise invalid("size", str(error), "image_size_not_supported") from None


def render(outcome: Outcome, how: Options, image: Base64) -> dict[str, Any]:
    """The answer with the images that were made; each entry of the metadata but `gateway` needs a list of images."""
    made = outcome.images
    usage = [each.usage or Usage() for each in made]
    given, out = sum(each.input_tokens for each in usage), sum(each.output_tokens for each in usage)
    return {
        "images": [image(each) for each in made],
        "warnings": how.warnings.render(outcome),
        "providerMetadata": {
            "google": {"images": [{} for _ in made]},
            "gateway": options.gateway_metadata(outcome.id, outcome.price_micros),
        },
        "usage": {"inputTokens": given, "outputTokens": out, "totalTokens": given + out},
    }
