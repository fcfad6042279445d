"""The words the doors, the road and the channels share: frozen dataclasses, no framework.

A dialect turns its wire form into a `GenerationRequest` and an `Outcome` back into its wire form; an
adapter turns a `Call` into its provider's form and the provider's answer into an `Answer`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from generation.preferences import Preferences

Mode = Literal["live", "test"]
Role = Literal["subject", "object", "style", "mask"]

ROLES: tuple[Role, ...] = ("subject", "object", "style")
# White where the first reference may change; for models that fill.
MASK: Role = "mask"
SIZES = ("1K", "2K", "4K")


@dataclass(frozen=True, slots=True)
class ReferenceInput:
    """One image sent in: exactly one of `url`, `data` (the decoded bytes), `output` (a public id) and `file` (the name
    of a file sent ahead) is set."""

    role: Role = "object"
    name: str = ""
    url: str = ""
    data: bytes = field(default=b"", repr=False)
    output: str = ""
    file: str = ""


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """What is asked, in our words. `None` means "the default of the image model"."""

    prompt: str = field(repr=False)
    model: str = ""
    n: int = 1
    aspect_ratio: str | None = None
    image_size: str | None = None
    references: tuple[ReferenceInput, ...] = ()
    previous: str = ""
    search_grounding: bool = False
    thinking_level: str | None = None
    seed: int | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    preferences: Preferences = field(default_factory=Preferences)
    # The conversation this is the end of, as a hash; it changes nothing of what is asked.
    conversation: str = ""


class Refusal(Exception):
    """A request we did not accept. It cost nothing and left no rows.

    `code` is stable and documented; `kind` is the class of error a door maps to its own statuses:
    invalid, unauthenticated, payment, forbidden, not_found, conflict, too_large, unprocessable, rate_limit,
    unavailable. `retry_after_seconds` is set where waiting helps.
    """

    def __init__(
        self, kind: str, code: str, message: str, *, param: str | None = None, retry_after_seconds: int | None = None
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.code = code
        self.message = message
        self.param = param
        self.retry_after_seconds = retry_after_seconds


def invalid(param: str, message: str, code: str = "invalid_request") -> Refusal:
    """A refusal that names the field at fault."""
    return Refusal("invalid", code, message, param=param)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens by modality as the upstream measured them, and web searches made. Not money."""

    input_text_tokens: int = 0
    input_image_tokens: int = 0
    output_text_tokens: int = 0
    output_image_tokens: int = 0
    thinking_tokens: int = 0
    search_queries: int = 0

    @property
    def input_tokens(self) -> int:
        return self.input_text_tokens + self.input_image_tokens

    @property
    def output_tokens(self) -> int:
        return self.output_text_tokens + self.output_image_tokens + self.thinking_tokens


@dataclass(frozen=True, slots=True)
class ImageFile:
    """An image lying in a file of ours; `path` is absolute and readable by this process."""

    path: Path
    mime_type: str
    role: Role = "object"
    name: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a model's turn, kept so that a later turn can send it back unchanged.

    `signature` is the upstream's opaque thought signature (raw bytes), which belongs to one model on one channel.
    """

    kind: Literal["text", "image"]
    text: str = ""
    signature: bytes = b""


@dataclass(frozen=True, slots=True)
class Turn:
    """One earlier prompt, the images sent with it, and what the model answered to it."""

    prompt: str = field(repr=False)
    references: tuple[ImageFile, ...]
    image: ImageFile
    parts: tuple[Part, ...]
    channel_id: str
    upstream_model: str


@dataclass(frozen=True, slots=True)
class Call:
    """One attempt's worth of work for an adapter. Seconds are wall-clock; `spool` is a directory for large bodies.

    `is_multimodal` is whether the model answers with words and pictures, or makes pictures only. `mask` is white where
    the first reference may change. `handle` names work that an earlier attempt left running upstream: it is followed,
    not begun anew. What can be followed so is told to `keep_handle` as soon as the upstream has named it.
    """

    upstream_model: str
    prompt: str = field(repr=False)
    aspect_ratio: str
    image_size: str
    spool: Path
    image_sizes_selectable: bool = True
    is_multimodal: bool = True
    lane: str = "standard"
    references: tuple[ImageFile, ...] = ()
    history: tuple[Turn, ...] = ()
    search_grounding: bool = False
    thinking_level: str | None = None
    seed: int | None = None
    mask: ImageFile | None = None
    attempt_number: int = 1
    index: int = 0
    deadline_seconds: float = 280.0
    byte_cap: int = 64 * 1024 * 1024
    handle: str = ""
    keep_handle: Callable[[str], Awaitable[None]] | None = None


@dataclass(frozen=True, slots=True)
class SpooledImage:
    """An image as the upstream sent it, byte for byte, in a spool file that its reader removes."""

    path: Path
    mime_type: str
    byte_count: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Source:
    """A page the model grounded its picture in."""

    title: str
    url: str


@dataclass(frozen=True, slots=True)
class Answer:
    """An upstream's complete answer. `image` is None when it made none; then `finish` says why.

    `finish` is one of: ok, refused, no_image. `finish_reason` is the upstream's own word. `cost_micros` is what it says
    that it bills, None where it does not say.
    """

    finish: Literal["ok", "refused", "no_image"]
    finish_reason: str = ""
    image: SpooledImage | None = None
    text: str = ""
    parts: tuple[Part, ...] = ()
    sources: tuple[Source, ...] = ()
    search_suggestions: str = ""
    usage: Usage = Usage()
    cost_micros: int | None = None
    draft_count: int = 0
    upstream_request_id: str = ""


ErrorKind = Literal["busy", "failed", "unreachable", "unauthorized", "rejected", "unknown", "interrupted"]


class ChannelError(Exception):
    """A call that brought no answer.

    kind: busy (429, 503), failed (another answered 5xx), unreachable (nothing was sent), unauthorized (our
    credentials, quota or region: the channel's fault), rejected (the upstream calls the request itself wrong), unknown
    (sent, but no complete answer came: perhaps billed upstream),
    interrupted (the same, but broken off by ourselves). `message` is for the operator only.
    """

    def __init__(
        self,
        kind: ErrorKind,
        message: str,
        *,
        status: int | None = None,
        retry_after_seconds: float | None = None,
        upstream_request_id: str = "",
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.status = status
        self.retry_after_seconds = retry_after_seconds
        self.upstream_request_id = upstream_request_id


@dataclass(frozen=True, slots=True)
class OutputOutcome:
    """One requested image as a door shows it, with the model that made it or is to, and its origin: "model", "cache" or
    "placeholder".

    Micros are integers; `error` is (code, message) or None.
    """

    id: str
    index: int
    status: str
    model: str
    origin: str
    mime_type: str | None
    width: int | None
    height: int | None
    byte_count: int | None
    text: str | None
    sources: tuple[Source, ...]
    search_suggestions: str | None
    usage: Usage | None
    price_micros: int | None
    attempts: tuple[Mapping[str, Any], ...]
    error: Mapping[str, str] | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """A generation as a door shows it."""

    id: str
    status: str
    mode: Mode
    model: str
    lane: str
    prompt: str = field(repr=False)
    aspect_ratio: str
    image_size: str
    n: int
    quote_micros: int
    price_micros: int
    warnings: tuple[Mapping[str, str], ...]
    metadata: Mapping[str, str]
    tags: tuple[str, ...]
    error: Mapping[str, str] | None
    created_at: Any
    finished_at: Any
    outputs: tuple[OutputOutcome, ...]

    @property
    def model_delivered(self) -> str:
        """The model that made the images, where it is another than the one that was asked for."""
        return next((each.model for each in self.images if each.model != self.model), "")

    @property
    def images(self) -> tuple[OutputOutcome, ...]:
        """The outputs that are there."""
        return tuple(each for each in self.outputs if each.mime_type)

    @property
    def is_finished(self) -> bool:
        return self.status in ("succeeded", "failed", "canceled")
