"""Builds what the AI Gateway is sent: a `Call` as headers and JSON; it never sends anything.

The protocol is that of @ai-sdk/gateway in specification version 3, where files are plain base64.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from generation.channels.adapters.conversation import is_restorable, label
from generation.channels.adapters.http_json import as_base64
from generation.contract import Call, ImageFile, Part
from generation.pixels import pixel_size

SPECIFICATION = "3"
# Image models that take a size in pixels, by what is in their names, with the longest side they make. The first that
# fits counts; None and all others take a ratio only.
_LONGEST_SIDES: tuple[tuple[str, int | None], ...] = (
    ("flux-2", 4096),
    ("flux-pro-1.1-ultra", None),
    ("flux-pro-1.1", 1440),
)
# Sides of a size that had to be cut are multiples of so many pixels.
_STEP = 32


def route(call: Call) -> str:
    """Where the call goes, below the base URL."""
    return "language-model" if call.is_multimodal else "image-model"


def headers(call: Call, secret: str) -> dict[str, str]:
    """The headers of one call; model and version stand nowhere else."""
    found = authentication(secret)
    if not call.is_multimodal:
        return found | {
            "ai-model-id": call.upstream_model,
            "ai-image-model-specification-version": SPECIFICATION,
        }
    return found | {
        "ai-language-model-id": call.upstream_model,
        "ai-language-model-specification-version": SPECIFICATION,
        "ai-language-model-streaming": "false",
    }


def authentication(secret: str) -> dict[str, str]:
    """The headers that say who asks."""
    return {
        "authorization": f"Bearer {secret}",
        "ai-gateway-protocol-version": "0.0.1",
        "ai-gateway-auth-method": "api-key",
    }


def body(call: Call, options: Mapping[str, str]) -> dict[str, Any]:
    """The JSON of one call for one picture. Reads image files: blocks, and raises OSError for one that is missing."""
    found = _language(call) if call.is_multimodal else _images(call)
    settings = (_google(call) if call.is_multimodal else _imagen(call)) | _gateway(options)
    if settings:
        found["providerOptions"] = settings
    if call.seed is not None:
        found["seed"] = call.seed
    return found


def _language(call: Call) -> dict[str, Any]:
    messages: list[dict[str, Any]] = []
    previous: ImageFile | None = None
    for turn in call.history:
        if not is_restorable(turn):
            previous = turn.image
            continue
        messages.append(_user(turn.prompt, turn.references, previous))
        messages.append({"role": "assistant", "content": [_restored(part, turn.image) for part in turn.parts]})
        previous = None
    return {"prompt": [*messages, _user(call.prompt, call.references, previous)]}


def _images(call: Call) -> dict[str, Any]:
    found: dict[str, Any] = {"prompt": call.prompt, "n": 1, **_shape(call)}
    earlier = [call.history[-1].image] if call.history else []
    if files := [_file(image) for image in (*earlier, *call.references)]:
        found["files"] = files
    if call.mask:
        found["mask"] = _file(call.mask)
    return found


def _shape(call: Call) -> dict[str, str]:
    """A size or a ratio, never both: FLUX takes no notice of the size then."""
    longest = next((side for name, side in _LONGEST_SIDES if name in call.upstream_model), None)
    if longest is None:
        return {"aspectRatio": call.aspect_ratio}
    width, height = pixel_size(call.aspect_ratio, call.image_size)
    scale = longest / max(width, height)
    if scale < 1:
        width, height = (round(side * scale / _STEP) * _STEP for side in (width, height))
    return {"size": f"{width}x{height}"}


def _google(call: Call) -> dict[str, Any]:
    config = {"aspectRatio": call.aspect_ratio}
    if call.image_sizes_selectable:
        config["imageSize"] = call.image_size
    found: dict[str, Any] = {"responseModalities": ["TEXT", "IMAGE"], "imageConfig": config}
    if call.thinking_level:
        found["thinkingConfig"] = {"thinkingLevel": call.thinking_level.lower()}
    return {"google": found}


def _imagen(call: Call) -> dict[str, Any]:
    """Imagen takes its size by a setting of Vertex AI, the one provider that has it."""
    if "imagen" not in call.upstream_model or not call.image_sizes_selectable:
        return {}
    return {"vertex": {"sampleImageSize": call.image_size}}


def _gateway(options: Mapping[str, str]) -> dict[str, Any]:
    providers = [name.strip() for name in options.get("only", "").split(",") if name.strip()]
    return {"gateway": {"only": providers}} if providers else {}


def _user(prompt: str, references: Sequence[ImageFile], previous: ImageFile | None) -> dict[str, Any]:
    parts = [_file(previous)] if previous else []
    parts += _labeled(references)
    return {"role": "user", "content": [*parts, _text(prompt)]}


def _labeled(references: Sequence[ImageFile]) -> Iterator[dict[str, Any]]:
    for number, reference in enumerate(references, start=1):
        if words := label(number, reference):
            yield _text(words)
        yield _file(reference)


def _text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def _file(image: ImageFile) -> dict[str, Any]:
    return {"type": "file", "mediaType": image.mime_type, "data": as_base64(image)}


def _restored(part: Part, image: ImageFile) -> dict[str, Any]:
    restored = _file(image) if part.kind == "image" else _text(part.text)
    if part.signature:
        signature = base64.b64encode(part.signature).decode()
        restored["providerOptions"] = {"google": {"thoughtSignature": signature}}
    return restored
