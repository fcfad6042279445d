"""Builds what the Images API is sent: a `Call` as fields and images; it never sends anything."""

from __future__ import annotations

from collections.abc import Mapping

from generation.contract import Call, ImageFile
from generation.pixels import pixel_size


def fields(call: Call, options: Mapping[str, str]) -> dict[str, str | int]:
    """The fields of one call for one picture."""
    found: dict[str, str | int] = {"model": call.upstream_model, "prompt": call.prompt, "n": 1}
    if options.get("response_format", "b64_json") == "b64_json":
        found["response_format"] = "b64_json"
    if options.get("size", "pixels") == "fields":
        return found | _named(call)
    width, height = pixel_size(call.aspect_ratio, call.image_size)
    return {**found, "size": f"{width}x{height}"}


def _named(call: Call) -> dict[str, str | int]:
    named: dict[str, str | int] = {"aspect_ratio": call.aspect_ratio}
    return {**named, "image_size": call.image_size} if call.image_sizes_selectable else named


def images(call: Call) -> list[tuple[str, ImageFile]]:
    """The images of an edit by field; none where it is no edit. The last turn's picture goes first."""
    earlier = [call.history[-1].image] if call.history else []
    found = [("image[]", image) for image in (*earlier, *call.references)]
    if len(found) == 1:
        found = [("image", found[0][1])]
    return [*found, ("mask", call.mask)] if call.mask and found else found
