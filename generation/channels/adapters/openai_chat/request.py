"""Builds what chat completions are sent: a `Call` as JSON; it never sends anything. It reads image files: it blocks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from generation.channels.adapters.conversation import label
from generation.channels.adapters.http_json import as_data_url
from generation.contract import Call, ImageFile, Turn

_SUFFIXES = {"1K": "", "2K": "-2k", "4K": "-4k"}


def body(call: Call, options: Mapping[str, str]) -> dict[str, Any]:
    """One call for one picture. Raises OSError for an image that is missing."""
    style = options.get("size", "image_config")
    found: dict[str, Any] = {
        "model": call.upstream_model + (_suffix(call) if style == "suffix" else ""),
        "messages": list(_messages(call)),
        "modalities": ["image", "text"] if call.is_multimodal else ["image"],
        "stream": False,
        **_sized(call, style),
    }
    if call.seed is not None:
        found["seed"] = call.seed
    if call.thinking_level:
        found["reasoning"] = {"effort": call.thinking_level}
    return found


def _sized(call: Call, style: str) -> dict[str, Any]:
    config = {"aspect_ratio": call.aspect_ratio}
    if call.image_sizes_selectable:
        config["image_size"] = call.image_size
    styles: dict[str, dict[str, Any]] = {
        "image_config": {"image_config": config},
        "extra_body": {"extra_body": {"google": {"image_config": config}}},
        "top_level": config,
    }
    return styles.get(style, {})


def _suffix(call: Call) -> str:
    size = _SUFFIXES.get(call.image_size, "") if call.image_sizes_selectable else ""
    return size if call.aspect_ratio == "1:1" else f"{size}-{call.aspect_ratio.replace(':', 'x')}"


def _messages(call: Call) -> Iterator[dict[str, Any]]:
    for turn in call.history:
        yield _user(turn.prompt, turn.references)
        yield _assistant(turn)
    yield _user(call.prompt, call.references)


def _user(prompt: str, references: Sequence[ImageFile]) -> dict[str, Any]:
    if not references:
        return {"role": "user", "content": prompt}
    return {"role": "user", "content": [*_labeled(references), {"type": "text", "text": prompt}]}


def _labeled(references: Sequence[ImageFile]) -> Iterator[dict[str, Any]]:
    for number, reference in enumerate(references, start=1):
        if words := label(number, reference):
            yield {"type": "text", "text": words}
        yield _image(reference)


def _image(file: ImageFile) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": as_data_url(file)}}


def _assistant(turn: Turn) -> dict[str, Any]:
    """The model's own turn. Its signatures are the `reasoning_details` it came with, sent back unchanged."""
    words = "".join(part.text for part in turn.parts if part.kind == "text")
    message: dict[str, Any] = {"role": "assistant", "content": words, "images": [_image(turn.image)]}
    signature = next((part.signature for part in turn.parts if part.signature), b"")
    return {**message, "reasoning_details": json.loads(signature)} if signature else message
