"""Gemini's clients mix camelCase and snake_case, within one request too: everything is read as camelCase."""

from __future__ import annotations

import re
from typing import Any

from generation.contract import invalid

_SNAKE = re.compile(r"_{1,3}([a-z0-9])")
_LONGEST_NAME = 200
# Below these stand names that the caller made up.
_OWN_NAMES = ("labels", "metadata")


def camel(value: Any) -> Any:
    """The same value with the names of all its objects in camelCase. Refuses a field that is there in both ways."""
    if isinstance(value, list):
        return [camel(each) for each in value]
    if not isinstance(value, dict):
        return value
    found: dict[str, Any] = {}
    for name, inner in value.items():
        if len(name) > _LONGEST_NAME:
            raise invalid(name[:80], "There is no field of so long a name.", "unknown_field")
        new = _SNAKE.sub(lambda match: match[1].upper(), name)
        if new in found:
            raise invalid(new[:80], "This field is there twice, in two spellings.")
        found[new] = inner if new in _OWN_NAMES else camel(inner)
    return found
