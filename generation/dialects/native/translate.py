"""The native API's wire form to our words and back. Pure Python: checked data in, plain data out."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any

from generation.contract import GenerationRequest, Outcome, OutputOutcome, ReferenceInput, invalid
from generation.preferences import Preferences

Link = Callable[[str], str]
_MAX_WAIT_SECONDS = 120
_WAIT = re.compile(r"(?:^|[\s,;])wait\s*=\s*\"?(\d{1,9})\"?(?=$|[\s,;])", re.IGNORECASE)


def parse(data: Mapping[str, Any], files: Mapping[str, bytes], preferences: Preferences) -> GenerationRequest:
    """A checked body (see schemas), the files sent with it and what it prefers, as a GenerationRequest."""
    references = tuple(_reference(each, files, f"references[{index}]") for index, each in enumerate(data["references"]))
    return GenerationRequest(
        prompt=data["prompt"],
        model=data["model"],
        n=data["n"],
        aspect_ratio=data["aspect_ratio"],
        image_size=data["image_size"],
        references=references,
        previous=data["previous"],
        search_grounding=data["search_grounding"],
        thinking_level=data["thinking_level"],
        seed=data["seed"],
        metadata=data["metadata"],
        tags=tuple(data["tags"]),
        preferences=preferences,
    )


def _reference(data: Mapping[str, Any], files: Mapping[str, bytes], param: str) -> ReferenceInput:
    content = data.get("data", b"")
    if data.get("file"):
        if data["file"] not in files:
            raise invalid(f"{param}.file", f"The request has no file part named {data['file']!r}.", "file_not_found")
        content = files[data["file"]]
    return ReferenceInput(
        role=data["role"], name=data["name"], url=data.get("url", ""), data=content, output=data.get("output", "")
    )


def wait_seconds(prefer: str) -> int:
    """The seconds of `Prefer: wait=N`, at most 120; 0 if the header does not ask to wait (RFC 7240)."""
    match = _WAIT.search(prefer)
    return min(int(match[1]), _MAX_WAIT_SECONDS) if match else 0


def render(outcome: Outcome, link: Link, base64_of: Link | None = None) -> dict[str, Any]:
    """A generation in the native form.

    `link` turns an output's id into a link to its image; `base64_of`, if given, into its image as base64 or into what
    stands for that.
    """
    return {
        "id": outcome.id,
        "status": outcome.status,
        "mode": outcome.mode,
        "model": outcome.model,
        "lane": outcome.lane,
        "prompt": outcome.prompt,
        "n": outcome.n,
        "aspect_ratio": outcome.aspect_ratio,
        "image_size": outcome.image_size,
        "quote_micros": outcome.quote_micros,
        "price_micros": outcome.price_micros,
        "warnings": list(outcome.warnings),
        "metadata": outcome.metadata,
        "tags": list(outcome.tags),
        "error": outcome.error,
        "created_at": outcome.created_at,
        "finished_at": outcome.finished_at,
        "outputs": [_output(each, link, base64_of) for each in outcome.outputs],
    }


def _output(output: OutputOutcome, link: Link, base64_of: Link | None) -> dict[str, Any]:
    image = {"b64_json": base64_of(output.id) if output.mime_type else None} if base64_of else {}
    return {
        "id": output.id,
        "index": output.index,
        "status": output.status,
        "model": output.model,
        "origin": output.origin,
        "url": link(output.id) if output.mime_type else None,
        **image,
        "mime_type": output.mime_type,
        "width": output.width,
        "height": output.height,
        "byte_count": output.byte_count,
        "text": output.text,
        "sources": [dataclasses.asdict(each) for each in output.sources],
        "search_suggestions": output.search_suggestions,
        "usage": dataclasses.asdict(output.usage) if output.usage else None,
        "price_micros": output.price_micros,
        "attempts": list(output.attempts),
        "error": output.error,
    }


def render_list(data: list[Any], next_cursor: str = "") -> dict[str, Any]:
    """A list in the native form."""
    return {"data": data, "has_more": bool(next_cursor), "next_cursor": next_cursor or None}
