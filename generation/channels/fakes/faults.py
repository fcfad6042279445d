"""The misfortunes a fake upstream can play, scripted by a test or named in a prompt as `fake:<name>[:argument]`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

STATUSES: Mapping[str, tuple[str, str]] = {
    "400": ("INVALID_ARGUMENT", "Request contains an invalid argument."),
    "401": ("UNAUTHENTICATED", "Request had invalid authentication credentials."),
    "402": ("FAILED_PRECONDITION", "Your prepayment credits are depleted."),
    "403": ("PERMISSION_DENIED", "Your API key was reported as leaked. Please use another API key."),
    "404": ("NOT_FOUND", "This model is no longer available."),
    "429": ("RESOURCE_EXHAUSTED", "You exceeded your current quota, please check your plan and billing details."),
    "500": ("INTERNAL", "An internal error has occurred. Please retry."),
    "502": ("UNAVAILABLE", "Bad gateway."),
    "503": ("UNAVAILABLE", "The model is overloaded. Please try again later."),
    "504": ("DEADLINE_EXCEEDED", "Deadline expired before operation could complete."),
}
SHAPES = frozenset(
    {
        "bad-base64",
        "not-an-image",
        "broken-image",
        "wrong-mime",
        "file-uri",
        "no-image",
        "text-only",
        "max-tokens",
        "blocked-prompt",
        "blocked-image",
        "prohibited",
        "two-images",
        "drafts",
        "wrong-size",
        "jpeg",
        "long-signature",
    }
)
WIRES = frozenset(
    {
        "html",
        "truncated",
        "json-cut",
        "chunk-cut",
        "gzip-cut",
        "reset",
        "reset-midway",
        "close",
        "trickle",
        "trickle-head",
        "stall",
        "silent",
        "noise",
        "redirect",
        "huge",
        "gzip",
        "gzip-bomb",
        "chunked",
    }
)
NAMES = frozenset(STATUSES) | SHAPES | WIRES
# What these do to the wire leaves nothing of an answer.
UNCOMPOSED = frozenset({"html", "silent", "reset", "close", "noise", "redirect"})

_DIRECTIVE = re.compile(r"(?<![a-z0-9])fake:([0-9a-z]+(?:-[0-9a-z]+)*)(?::([0-9A-Za-z_.]*[0-9A-Za-z]))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Fault:
    """One misfortune. `name` is one of NAMES or "" for none; `argument` is explained in docs/sandbox.md.

    `retry_after` is the value of the Retry-After header and `retry_delay` that of RetryInfo ("3s") of a 429 or 503;
    both are left out when empty. `latency_seconds` comes before everything else.
    """

    name: str = ""
    argument: str = ""
    retry_after: str = ""
    retry_delay: str = ""
    latency_seconds: float = 0.0

    def __post_init__(self) -> None:
        if self.name and self.name not in NAMES:
            raise ValueError(f"no fault is called {self.name!r}")

    def number(self, default: float) -> float:
        """The argument as a number, or `default` when it is none."""
        try:
            return float(self.argument)
        except ValueError:
            return default


def fault_in(prompt: str) -> Fault | None:
    """The fault a prompt names: the first known directive, together with every `fake:latency:<seconds>`."""
    fault = Fault()
    for name, argument in _DIRECTIVE.findall(prompt):
        if name == "latency":
            seconds = Fault(argument=argument).number(1.0)
            fault = replace(fault, latency_seconds=fault.latency_seconds + seconds)
        elif name in NAMES and not fault.name:
            fault = replace(fault, name=name, argument=argument, **_retry_hints(name, argument))
    return None if fault == Fault() else fault


def _retry_hints(name: str, argument: str) -> dict[str, Any]:
    if name in ("429", "503") and argument:
        return {"retry_after": argument, "retry_delay": f"{argument}s"}
    return {}
