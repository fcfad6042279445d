"""The providers: every call is kept here until the simulator says how it ends. It knows what it made and what it bills.

Stands where the process's event loop and the adapters are; a call's worker waits in its greenlet.
"""

from __future__ import annotations

import hashlib
import uuid
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any

from generation.channels.adapter import Credentials
from generation.contract import Answer, Call, ChannelError, Part, SpooledImage, Usage
from generation.egress import loop
from tests.images import chunk, ihdr, png_of, with_text_chunk

# Wide and low: the area of a picture of that size, in a few hundred bytes.
_SHAPES = {"1K": (64, 64), "2K": (32_768, 73), "4K": (32_768, 289)}

# How a call may end, and whether the provider bills it.
IMAGES = ("image", "twin", "drafts", "wrong_size")
ANSWERS: dict[str, bool] = {
    "image": True,
    "twin": True,
    "drafts": True,
    "wrong_size": True,
    "garbage": True,
    "refused": False,
    "no_image": False,
    "busy": False,
    "busy_for_long": False,
    "overloaded": False,
    "failed": False,
    "unreachable": False,
    "rejected": False,
    "unauthorized": False,
    "silence_billed": True,
    "silence_free": False,
    "truncated": True,
    "timeout": True,
    "broken_adapter": True,
}

_ERRORS: dict[str, Callable[[], BaseException]] = {
    "busy": lambda: ChannelError("busy", "quota", status=429),
    "busy_for_long": lambda: ChannelError("busy", "quota", status=429, retry_after_seconds=37.0),
    "overloaded": lambda: ChannelError("busy", "overloaded", status=503, upstream_request_id="req-503"),
    "failed": lambda: ChannelError("failed", "internal", status=500),
    "unreachable": lambda: ChannelError("unreachable", "connection refused"),
    "rejected": lambda: ChannelError("rejected", "bad request", status=400),
    "unauthorized": lambda: ChannelError("unauthorized", "API key not valid", status=403),
    "silence_billed": lambda: ChannelError("unknown", "read timeout"),
    "silence_free": lambda: ChannelError("unknown", "connection reset"),
    "truncated": lambda: ChannelError("unknown", "the answer broke off", status=200),
    "timeout": lambda: TimeoutError("the call did not end"),
    "broken_adapter": lambda: KeyError("candidates"),
    "interrupted": lambda: loop.CallCanceled("the call was canceled"),
}


@cache
def _plain(size: str) -> bytes:
    width, height = _SHAPES[size]
    rows = zlib.compress(bytes((1 + width // 8) * height), 1)
    return png_of(ihdr(width, height, 1, 0), chunk(b"IDAT", rows), chunk(b"IEND"))


def picture(size: str, text: str) -> bytes:
    """A complete PNG of a size class; another text makes another file."""
    return with_text_chunk(_plain(size), text.encode())


@dataclass
class UpstreamCall:
    """One call that reached a provider. `has_listener` says whether its worker is still there."""

    number: int
    output_id: uuid.UUID
    call: Call
    started_at: datetime
    has_listener: Callable[[], bool]
    answer: str = ""


@dataclass(frozen=True, slots=True)
class Handle:
    """What stands for the coroutine that an adapter would give."""

    call: Call

    def close(self) -> None:
        """As a coroutine has it."""


class SimulatedAdapter:
    """Hands the call over; nothing leaves the process."""

    abilities = frozenset({"grounding", "thinking", "history", "seed"})
    lanes = frozenset({"standard", "flex", "batch"})

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.needs_secret = kind != "sandbox"

    def generate(self, call: Call, credentials: Credentials) -> Any:
        assert credentials.secret or not self.needs_secret, "a channel is called without its secret"
        return Handle(call)


@dataclass
class Upstream:
    """All calls that ever arrived, and all images that were ever made, by their SHA-256."""

    calls: list[UpstreamCall] = field(default_factory=list)
    images: dict[str, tuple[uuid.UUID, str]] = field(default_factory=dict)

    def arrive(self, output_id: uuid.UUID, call: Call, now: datetime, has_listener: Callable[[], bool]) -> UpstreamCall:
        arrived = UpstreamCall(len(self.calls) + 1, output_id, call, now, has_listener)
        self.calls.append(arrived)
        return arrived

    def open_calls(self) -> list[UpstreamCall]:
        """Calls that somebody waits for and whose end is not decided yet."""
        return [each for each in self.calls if not each.answer and each.has_listener()]

    def give(self, arrived: UpstreamCall) -> Answer:
        """The answer that was decided, or the error it was."""
        if arrived.answer in _ERRORS:
            raise _ERRORS[arrived.answer]()
        usage = Usage(input_text_tokens=9, output_text_tokens=4, output_image_tokens=1120)
        request_id = f"req-{arrived.number}"
        if arrived.answer == "refused":
            return Answer("refused", "IMAGE_SAFETY", usage=Usage(input_text_tokens=9), upstream_request_id=request_id)
        if arrived.answer == "no_image":
            return Answer("no_image", "NO_IMAGE", text="no", parts=(Part("text", "no"),), usage=Usage())
        return Answer(
            "ok",
            "STOP",
            image=self._spooled(arrived),
            text="a picture",
            parts=(Part("text", "a picture"), Part("image", signature=b"signature")),
            usage=usage,
            draft_count=1 if arrived.answer == "drafts" else 0,
            upstream_request_id=request_id,
        )

    def _spooled(self, arrived: UpstreamCall) -> SpooledImage:
        call = arrived.call
        size = "1K" if arrived.answer == "wrong_size" else call.image_size
        # A twin is what a model with a fixed seed makes: each call of an output gives the same bytes.
        text = f"{arrived.output_id} {'twin' if arrived.answer == 'twin' else arrived.number}"
        data = picture(size, text)
        if arrived.answer == "garbage":
            data = data[: len(data) // 2]
        digest = hashlib.sha256(data).hexdigest()
        self.images[digest] = (arrived.output_id, size)
        path = call.spool / f"{arrived.number}.image"
        path.write_bytes(data)
        return SpooledImage(path, "image/png", len(data), digest)
