"""Magic prompts: which misfortune a prompt asks the sandbox to play; it must never read anything but the prompt."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from generation.contract import ChannelError, ErrorKind

# A prompt in Chinese has no space before a directive and may well have a full-width colon in it.
_DIRECTIVE = re.compile(
    r"(?<![a-z0-9])sandbox[:\uff1a]([0-9a-z]+(?:-[0-9a-z]+)*)(?:[:\uff1a]([0-9]+(?:\.[0-9]+)?))?",
    re.IGNORECASE | re.ASCII,
)
_SLOW_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class _Failure:
    kind: ErrorKind
    status: int | None
    message: str
    retry_after_seconds: float | None = None


_FAILURES: Mapping[str, _Failure] = {
    "429": _Failure("busy", 429, "The sandbox plays an exhausted quota.", 1.0),
    "503": _Failure("busy", 503, "The sandbox plays an overloaded model."),
    "500": _Failure("failed", 500, "The sandbox plays an internal error."),
    "truncated": _Failure("unknown", 200, "The sandbox plays an answer that broke off."),
    "lost": _Failure("unknown", None, "The sandbox plays an answer that never came."),
    "unauthorized": _Failure("unauthorized", 403, "The sandbox plays a refused credential."),
    "rejected": _Failure("rejected", 400, "The sandbox plays a request that the provider calls wrong."),
}
_ANSWERS = frozenset({"slow", "refuse", "no-image", "wrong-size", "garbage", "drafts"})

NAMES = frozenset(_FAILURES) | _ANSWERS


def directives(prompt: str) -> Mapping[str, float | None]:
    """The known directives in a prompt by name, each with its number or None; unknown names are plain words."""
    found: dict[str, float | None] = {}
    for name, number in _DIRECTIVE.findall(prompt):
        if name.lower() in NAMES:
            found.setdefault(name.lower(), float(number) if number else None)
    return found


def slow_seconds(script: Mapping[str, float | None]) -> float:
    """How long to wait before anything else."""
    if "slow" not in script:
        return 0.0
    seconds = script["slow"]
    return _SLOW_SECONDS if seconds is None else seconds


def raise_scripted(script: Mapping[str, float | None], attempt_number: int, request_id: str) -> None:
    """Raises the first scripted `ChannelError`; one with a number k fails only the attempts 1 to k."""
    for name, count in script.items():
        failure = _FAILURES.get(name)
        if failure and (count is None or attempt_number <= count):
            raise ChannelError(
                failure.kind,
                failure.message,
                status=failure.status,
                retry_after_seconds=failure.retry_after_seconds,
                upstream_request_id=request_id if failure.status else "",
            )
