"""Stripe's form bodies: `a[b][0]=x` is {"a": {"b": ["x"]}}."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl

_PART = re.compile(r"\[([^\]]*)\]")


def parse(text: str) -> dict[str, Any]:
    """A form body or a query string as nested dictionaries and lists of texts."""
    found: dict[str, Any] = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        head, *_ = name.split("[", 1)
        _set(found, [head, *_PART.findall(name)], value)
    return {name: _with_lists(value) for name, value in found.items()}


def _set(place: dict[str, Any], parts: list[str], value: str) -> None:
    for part in parts[:-1]:
        place = place.setdefault(part or str(len(place)), {})
    place[parts[-1] or str(len(place))] = value


def _with_lists(value: Any) -> Any:
    """Dictionaries whose names are 0, 1, 2 ... are lists."""
    if not isinstance(value, dict):
        return value
    inner = {name: _with_lists(each) for name, each in value.items()}
    is_list = all(name.isdigit() for name in inner)
    return [inner[name] for name in sorted(inner, key=int)] if is_list and inner else inner
