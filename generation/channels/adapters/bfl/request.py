"""Builds what Black Forest Labs are sent: a `Call` as JSON in the words of its model; it never sends anything.

Fields by model: https://docs.bfl.ai/api-reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from generation.channels.adapters.bfl.sizes import Frame, pixel_size
from generation.channels.adapters.http_json import as_base64
from generation.contract import Call, ChannelError, ImageFile


@dataclass(frozen=True, slots=True)
class _Family:
    """How models of one kind are asked: in pixels (`frame`), by ratio, or neither; and where images go, in order."""

    image_fields: tuple[str, ...]
    frame: Frame | None = None
    takes_ratio: bool = False
    takes_mask: bool = False


def _numbered(count: int) -> tuple[str, ...]:
    return ("input_image", *(f"input_image_{number}" for number in range(2, count + 1)))


_FLUX_2 = Frame(step=16, shortest=64, longest=8192)
_FLUX_1_1 = Frame(step=32, shortest=256, longest=1440)
# The first that a model's name begins with counts; models to come are taken for relatives of FLUX.2.
_FAMILIES: tuple[tuple[str, _Family], ...] = (
    ("flux-pro-1.0-fill", _Family(("image",), takes_mask=True)),
    ("flux-pro-1.1-ultra", _Family(("image_prompt",), takes_ratio=True)),
    ("flux-pro-1.1", _Family(("image_prompt",), frame=_FLUX_1_1)),
    ("flux-kontext", _Family(_numbered(4), takes_ratio=True)),
    ("flux-2-klein", _Family(_numbered(4), frame=_FLUX_2)),
    ("", _Family(_numbered(8), frame=_FLUX_2)),
)


def body(call: Call) -> dict[str, Any]:
    """The JSON of one call for one picture. Reads image files: blocks.

    Raises ChannelError where the model cannot be told what is asked, ValueError for a ratio that is none.
    """
    family = next(family for prefix, family in _FAMILIES if call.upstream_model.startswith(prefix))
    found: dict[str, Any] = {"prompt": call.prompt, "output_format": "png"}
    if call.seed is not None:
        found["seed"] = call.seed
    if family.takes_ratio:
        found["aspect_ratio"] = call.aspect_ratio
    if family.frame:
        found["width"], found["height"] = pixel_size(call.aspect_ratio, call.image_size, family.frame)
    images = zip(family.image_fields, _inputs(call, family), strict=False)
    return {**found, **{name: as_base64(file) for name, file in images}, **_mask(call, family)}


def _inputs(call: Call, family: _Family) -> list[ImageFile]:
    """The images sent along, the last turn's picture first. A model that takes one gets the first of them."""
    found = [*(turn.image for turn in call.history[-1:]), *call.references]
    most = len(family.image_fields)
    if len(found) > most > 1:
        raise ChannelError("rejected", f"{call.upstream_model} takes at most {most} images, not {len(found)}")
    return found


def _mask(call: Call, family: _Family) -> dict[str, str]:
    if call.mask is None:
        return {}
    if not family.takes_mask:
        raise ChannelError("rejected", f"{call.upstream_model} takes no mask")
    return {"mask": as_base64(call.mask)}
