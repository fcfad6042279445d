"""Adapters that speak HTTP, each with the stand-in it is tried against, in every way that a call can take.

An adapter to come is one more line of SPEAKERS; its stand-in plays the same faults under the same names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from generation.channels.fakes.faults import NAMES
from generation.channels.fakes.gemini import FakeGemini
from tests.upstreams.ai_gateway import IMAGE_NAMES_PLAYED as AI_GATEWAY_IMAGE_NAMES
from tests.upstreams.ai_gateway import NAMES_PLAYED as AI_GATEWAY_NAMES
from tests.upstreams.ai_gateway import FakeAiGateway
from tests.upstreams.bfl import NAMES_PLAYED as BFL_NAMES
from tests.upstreams.bfl import FakeBfl
from tests.upstreams.openai_service import CHAT_NAMES, IMAGES_NAMES, FakeChat, FakeImages
from tests.upstreams.vertex import NAMES_PLAYED as VERTEX_NAMES
from tests.upstreams.vertex import PREDICT_NAMES, PROJECT, RAI_IMAGE, RAI_PROMPT, FakeVertex, service_account
from tests.upstreams.vertex import SECRET as VERTEX_SECRET

SECRET = "AIzaSyTheSecretOfTheLiveChannel01234567"


class Fake(Protocol):
    """A stand-in for a provider: faults go in by script or by request, requests come out."""

    script: list[Any]
    fault_for: Callable[[Any], Any] | None
    requests: list[Any]
    abandoned_count: int
    base_url: str

    def start(self) -> None: ...

    def stop(self) -> None: ...


# A fault's name and argument, and the upstream's word for it.
Word = tuple[str, str, str]
_GEMINI_REFUSALS = (
    "SAFETY",
    "PROHIBITED_CONTENT",
    "IMAGE_SAFETY",
    "IMAGE_PROHIBITED_CONTENT",
    "RECITATION",
    "SPII",
    "BLOCKLIST",
    "MODEL_ARMOR",
)
_GEMINI_SILENCES = (
    "OTHER",
    "NO_IMAGE",
    "MAX_TOKENS",
    "LANGUAGE",
    "IMAGE_OTHER",
    "MALFORMED_FUNCTION_CALL",
    "A_WORD_TO_COME",
)
_GEMINI_WORDS: tuple[Word, ...] = (
    *((way, reason, reason) for way in ("blocked-image", "blocked-prompt") for reason in _GEMINI_REFUSALS),
    ("blocked-image", "", "IMAGE_SAFETY"),
    ("blocked-prompt", "", "PROHIBITED_CONTENT"),
    ("prohibited", "", "PROHIBITED_CONTENT"),
)
_SILENCES: tuple[Word, ...] = (
    ("no-image", "NO_IMAGE", "NO_IMAGE"),
    ("text-only", "STOP", "STOP"),
    ("max-tokens", "MAX_TOKENS", "MAX_TOKENS"),
)

# Answered: the upstream said so itself, and bills nothing.
STATUSES = {
    "400": "rejected",
    "401": "unauthorized",
    "402": "unauthorized",
    "403": "unauthorized",
    "404": "failed",
    "429": "busy",
    "500": "failed",
    "502": "failed",
    "503": "busy",
    "504": "failed",
    "redirect": "failed",
}


@dataclass(frozen=True, slots=True)
class Speaker:
    """An adapter that speaks HTTP, and the stand-in that plays the faults `names`.

    `refusals` and `silences` are the ways in which it answers without a picture; `model` is an image model it serves,
    `upstream_model` its word for it; `has_links` is whether it may hand out a link in place of a picture. Work that
    `followed` faults strike has a name by then, under which it is asked for once more before anything is paid again.
    `larger` is a size above 1K.

    Where `secret_at` is set, the secret is no API key but made for a base URL, and `secret` is not used. `key_header`
    is the header that carries a key, and its form. Where `embeds` is set, the picture is a string of the answer itself.
    `is_labeled` is whether it says what its picture is. Of `unknown_model` the provider says `unknown_words`.
    """

    kind: str
    fake: Callable[[], Fake]
    names: frozenset[str]
    refusals: tuple[Word, ...]
    silences: tuple[Word, ...]
    model: str = "gemini-3-pro-image"
    upstream_model: str = "gemini-3-pro-image"
    secret: str = SECRET
    tells_delays: bool = False
    has_links: bool = False
    followed: frozenset[str] = frozenset()
    larger: str = "4K"
    other_model: str = "gemini-2.5-flash-image"
    is_multimodal: bool = True
    options: Mapping[str, str] = field(default_factory=dict)
    secret_at: Callable[[str], str] | None = None
    key_header: tuple[str, str] = ("authorization", "Bearer {}")
    takes_references: bool = True
    embeds: bool = True
    is_labeled: bool = True
    unknown_model: str = "gemini-9-pro-image"
    unknown_words: str = "model_not_found"


_SPEAKERS = (
    Speaker(
        "ai_gateway",
        lambda: FakeAiGateway(cached=True),
        AI_GATEWAY_NAMES,
        (
            *(("blocked-image", word, word) for word in _GEMINI_REFUSALS),
            ("blocked-image", "", "IMAGE_SAFETY"),
            ("prohibited", "", "PROHIBITED_CONTENT"),
            ("blocked-prompt", "", "invalid_request_error"),
        ),
        _SILENCES,
        upstream_model="google/gemini-3-pro-image",
        unknown_model="google/gemini-9-pro-image",
    ),
    Speaker(
        "bfl",
        # What it says of its cost would hide what the catalogue says.
        lambda: FakeBfl(cached=True, pending_polls=0, cost=None),
        BFL_NAMES,
        (
            ("blocked-prompt", "", "Request Moderated"),
            ("blocked-prompt", "Derivative Works", "Request Moderated: Derivative Works"),
            ("blocked-image", "", "Content Moderated"),
            ("blocked-image", "Violence", "Content Moderated: Violence"),
        ),
        (("no-image", "", "Ready"),),
        model="flux-2-pro",
        upstream_model="flux-2-pro",
        has_links=True,
        followed=frozenset({"not-an-image", "broken-image", "file-uri", "huge", "gzip-bomb"}),
        larger="2K",
        other_model="flux-kontext-pro",
        is_multimodal=False,
        key_header=("x-key", "{}"),
        embeds=False,
        is_labeled=False,
        unknown_model="flux-9",
        unknown_words="404 Not Found",
    ),
    Speaker(
        "gemini",
        lambda: FakeGemini(cached=True),
        NAMES,
        _GEMINI_WORDS,
        (*_SILENCES, *(("blocked-image", reason, reason) for reason in _GEMINI_SILENCES)),
        tells_delays=True,
        key_header=("x-goog-api-key", "{}"),
        unknown_words="NOT_FOUND",
    ),
    Speaker(
        "openai_chat",
        lambda: FakeChat(cached=True),
        CHAT_NAMES,
        (("blocked-image", "IMAGE_SAFETY", "IMAGE_SAFETY"), ("blocked-prompt", "violence", "moderation: violence")),
        (("no-image", "", "STOP, in words only"), ("max-tokens", "", "LENGTH")),
        has_links=True,
    ),
    Speaker(
        "openai_images",
        lambda: FakeImages(cached=True),
        IMAGES_NAMES,
        (
            ("blocked-prompt", "", "moderation_blocked"),
            ("blocked-prompt", "content_policy_violation", "content_policy_violation"),
        ),
        (("no-image", "", "no image"),),
        has_links=True,
        is_labeled=False,
    ),
    Speaker(
        "vertex",
        lambda: FakeVertex(cached=True),
        VERTEX_NAMES,
        _GEMINI_WORDS,
        (*_SILENCES, *(("blocked-image", reason, reason) for reason in _GEMINI_SILENCES)),
        secret=VERTEX_SECRET,
        tells_delays=True,
        key_header=("x-goog-api-key", "{}"),
        unknown_words="NOT_FOUND",
    ),
)
SPEAKERS: Mapping[str, Speaker] = {speaker.kind: speaker for speaker in _SPEAKERS}

_IMAGEN = replace(
    SPEAKERS["vertex"],
    names=PREDICT_NAMES,
    refusals=(
        ("blocked-image", "", RAI_IMAGE),
        ("blocked-image", "29310472", "29310472"),
        ("blocked-prompt", "", RAI_PROMPT.partition("error: ")[2]),
    ),
    silences=(("no-image", "", "no image"),),
    model="imagen-4.0-generate",
    upstream_model="imagen-4.0-generate-001",
    is_multimodal=False,
    takes_references=False,
    unknown_model="imagen-2.0",
)
_ACCOUNT: Mapping[str, Any] = {"options": {"project": PROJECT}, "secret_at": service_account}
# Every way that calls take: adapters with two kinds of models speak two wires, and Vertex takes two kinds of secrets.
WAYS: Mapping[str, Speaker] = {
    **SPEAKERS,
    "ai_gateway-images": replace(
        SPEAKERS["ai_gateway"],
        names=AI_GATEWAY_IMAGE_NAMES,
        refusals=(("blocked-prompt", "", "invalid_request_error"),),
        silences=(("no-image", "", "no image"), ("no-image", "filtered", "filtered")),
        model="flux-kontext-pro",
        upstream_model="bfl/flux-kontext-pro",
        is_multimodal=False,
        is_labeled=False,
        unknown_model="bfl/flux-9",
    ),
    "vertex-account": replace(SPEAKERS["vertex"], **_ACCOUNT),
    "vertex-imagen": _IMAGEN,
    "vertex-imagen-account": replace(_IMAGEN, **_ACCOUNT),
}
