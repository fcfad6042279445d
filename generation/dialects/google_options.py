"""Google's own settings of an image, as Gemini's dialect has them and others pass them on. Pure Python."""

from __future__ import annotations

from dataclasses import dataclass

from generation.contract import SIZES, invalid
from generation.dialects.fields import Fields


@dataclass(frozen=True, slots=True)
class Shape:
    """What is asked of the image; None is the default of its model."""

    aspect_ratio: str | None
    image_size: str | None
    thinking_level: str | None


def read(config: Fields) -> Shape:
    """`responseModalities`, which must name images, `imageConfig` and `thinkingConfig`."""
    modalities = [str(each).upper() for each in config.list("responseModalities")]
    if modalities and "IMAGE" not in modalities:
        raise invalid(config.at("responseModalities"), "The models here make images: name IMAGE.", "not_supported")
    image, thinking = config.object("imageConfig"), config.object("thinkingConfig")
    return Shape(
        aspect_ratio=image.text("aspectRatio") or None,
        image_size=image.choice("imageSize", SIZES) or None,
        thinking_level=thinking.text("thinkingLevel").lower() or None,
    )
