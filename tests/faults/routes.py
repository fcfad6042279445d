"""Every route of the site as the URLconf has it, with its parameters filled in."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from django.urls import URLPattern, URLResolver, get_resolver

_PARAMETER = re.compile(r"<(?:\w+:)?(\w+)>|\(\?P<(\w+)>[^()]*\)")


@dataclass(frozen=True, slots=True)
class Route:
    """One entry of the URLconf: its pattern as written, and the names of its parameters."""

    pattern: str
    parameters: tuple[str, ...]

    @property
    def kind(self) -> str:
        """Who it is for by its place: api, admin, or the site."""
        return next((each for each in ("api", "admin") if self.pattern.startswith(f"{each}/")), "site")

    def path(self, values: Mapping[str, str]) -> str:
        """A path of this route; a parameter that `values` does not know raises KeyError."""
        text = _PARAMETER.sub(lambda match: values[match[1] or match[2]], self.pattern)
        return "/" + re.sub(r"[\^$]|\\Z", "", text)


def _walk(patterns: list[URLPattern | URLResolver], prefix: str = "") -> Iterator[str]:
    for each in patterns:
        path = prefix + str(each.pattern)
        if isinstance(each, URLResolver):
            yield from _walk(each.url_patterns, path)
        else:
            yield path


# The doors for other vendors' SDKs have tests of their own: `tests/dialects/test_errors.py` and `test_files.py`.
_DOORS = ("openai/", "openrouter/", "v1/", "gemini/", "v1beta/", "^(?:gemini/)?upload/", "ai-gateway/")


def routes() -> list[Route]:
    """All of them but those of other vendors' dialects, in the URLconf's order."""
    return [
        Route(each, tuple(match[1] or match[2] for match in _PARAMETER.finditer(each)))
        for each in _walk(get_resolver().url_patterns)
        if not each.startswith(_DOORS)
    ]
