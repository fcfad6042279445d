"""Builds what the Batch API is sent: calls as JSON in REST's names; it never sends anything. It reads image files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import IO, Any

from generation.channels.adapter import JobItem
from generation.channels.adapters.google import request
from generation.contract import Call


def body(call: Call) -> dict[str, Any]:
    """One GenerateContentRequest. Raises OSError for an image that is missing."""
    contents = [each.model_dump(mode="json", by_alias=True, exclude_none=True) for each in request.contents(call)]
    tools: dict[str, Any] = {"tools": [{"googleSearch": {}}]} if call.search_grounding else {}
    return {"contents": contents, "generationConfig": _config(call), **tools}


def _config(call: Call) -> dict[str, Any]:
    image: dict[str, Any] = {"aspectRatio": call.aspect_ratio}
    if call.image_sizes_selectable:
        image["imageSize"] = call.image_size
    config: dict[str, Any] = {"responseModalities": ["TEXT", "IMAGE"], "imageConfig": image}
    if call.thinking_level:
        config["thinkingConfig"] = {"thinkingLevel": call.thinking_level.upper()}
    if call.seed is not None:
        config["seed"] = call.seed
    return config


def inline(items: Sequence[JobItem], most_bytes: int) -> list[dict[str, Any]] | None:
    """The requests of a small job; None where they are more than so many bytes of JSON."""
    found, byte_count = [], 0
    for item in items:
        each = {"request": body(item.call), "metadata": {"key": item.key}}
        byte_count += len(json.dumps(each))
        if byte_count > most_bytes:
            return None
        found.append(each)
    return found


def write_lines(items: Sequence[JobItem], file: IO[bytes]) -> int:
    """The requests of a large job as JSON Lines; their length in bytes."""
    for item in items:
        file.write(json.dumps({"key": item.key, "request": body(item.call)}).encode() + b"\n")
    return file.tell()
