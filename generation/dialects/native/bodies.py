"""Reads a create: JSON, or multipart with the fields beside the files they name."""

from __future__ import annotations

import json
import re
from typing import Any

from rest_framework.request import Request

from generation.contract import GenerationRequest, Refusal, invalid
from generation.dialects import door
from generation.dialects.native import preferences, translate
from generation.dialects.native.schemas import GenerationCreateSchema

_WHOLE = ("n", "seed", "deadline_seconds", "display_width_px")
_FLAGS = ("search_grounding", "draft", "run_on")
_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,18}")
_JSON = ("metadata", "tags", "references", "routing", "cache")
# One for all requests: checking keeps nothing in it, and making one costs more than checking with it.
_SCHEMA = GenerationCreateSchema()


def read_request(request: Request) -> GenerationRequest:
    """The body as a GenerationRequest, or a refusal that names the field."""
    return read_create(request)[0]


def read_create(request: Request) -> tuple[GenerationRequest, bool]:
    """The same, and whether the answer shall have the images in it, which is no part of what is asked."""
    data: Any = request.data
    files: dict[str, bytes] = {}
    if request.content_type.startswith("multipart/"):
        data, files = _from_form(request)
    if not isinstance(data, dict):
        raise Refusal("invalid", "invalid_request", "The body must be a JSON object.")
    checked = _SCHEMA.run_validation(data)
    return translate.parse(checked, files, preferences.parse(checked)), checked["response_format"] == "b64_json"


def _from_form(request: Request) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Form fields are text: numbers, flags and lists are read from it. Files no reference names are references too."""
    form: Any = request.data
    data: dict[str, Any] = {name: _field(name, form[name]) for name in form if name not in request.FILES}
    files = {}
    for name, parts in request.FILES.lists():
        for place, part in enumerate(parts):
            files[name if place == 0 else f"{name}.{place}"] = door.bytes_of(name, part)
    references = data.setdefault("references", [])
    if isinstance(references, list):
        named = {each.get("file") for each in references if isinstance(each, dict)}
        references.extend({"file": name} for name in files if name not in named)
    return data, files


def _field(name: str, text: Any) -> Any:
    if not isinstance(text, str):
        return text
    if name in _JSON:
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            raise invalid(name, "In a form this field is JSON text.") from None
    if name in _WHOLE and _WHOLE_NUMBER.fullmatch(text.strip()):
        return int(text)
    if name in _FLAGS and text in ("true", "false"):
        return text == "true"
    return text
