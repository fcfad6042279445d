"""Requests that may be answered with what the same account had made before. Only for those that ask for it."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from accounts.authentication import Requester
from generation import media
from generation.channels.seed import PLACEHOLDER
from generation.contract import GenerationRequest
from generation.execution.house_roads import HIT, STALE
from generation.fingerprints import fingerprint
from generation.models import Generation, ImageModel, Output, State
from generation.preferences import Cache, Preferences


@dataclass(frozen=True, slots=True)
class Kept:
    """What is known of a request's content: its hash, and the outputs of an earlier one like it, newest.

    `use` is HIT where these answer it, STALE where they only stand in if it cannot be made, or empty.
    """

    content_sha256: str = ""
    outputs: Sequence[Output] = ()
    use: str = ""
    max_age: timedelta | None = None

    @property
    def is_hit(self) -> bool:
        return self.use == HIT


def wanted(requester: Requester, request: GenerationRequest) -> Cache | None:
    """What the request says of stored images, or else its key."""
    if request.preferences.cache is not None or requester.api_key is None:
        return request.preferences.cache
    default = requester.api_key.routing.get("cache")
    return Cache(**default) if default else None


def look(requester: Requester, request: GenerationRequest, image_model: ImageModel, *, now: datetime) -> Kept:
    """What there is for a request that may be answered so, or that takes any picture rather than none."""
    cache = wanted(requester, request)
    if cache is None and not request.preferences.routing.on_failure:
        return Kept()
    content = _content(requester, request, image_model)
    if cache is None:
        return Kept(content)
    max_age = timedelta(seconds=cache.max_age_seconds)
    found = newest(requester.account.pk, requester.mode, content)
    if not found:
        return Kept(content, max_age=max_age)
    age = now - found[0].generation.created_at
    if age <= max_age:
        return Kept(content, found, HIT, max_age)
    is_stale = age <= max(max_age, timedelta(seconds=cache.stale_if_error_seconds))
    return Kept(content, found, STALE, max_age) if is_stale else Kept(content, max_age=max_age)


def newest(account_id: uuid.UUID, mode: str, content_sha256: str) -> list[Output]:
    """The outputs of the newest generation of that content that succeeded whole and still has its images."""
    rows = Generation.objects.filter(account=account_id, mode=mode, content_sha256=content_sha256)
    for generation in rows.filter(status="succeeded", failed_count=0).order_by("-pk")[:3]:
        outputs = list(
            Output.objects.filter(generation=generation, state=State.SUCCEEDED, media__purged_at=None)
            .exclude(media=None)
            .select_related("generation", "media")
            .order_by("index")
        )
        is_whole = len(outputs) == generation.n and all(media.exists(each.media.storage_name) for each in outputs)
        if is_whole and not _is_placeholder(outputs):
            return outputs
    return []


def _is_placeholder(outputs: Sequence[Output]) -> bool:
    return any(output.attempts.filter(is_delivered=True, channel__kind=PLACEHOLDER).exists() for output in outputs)


def _content(requester: Requester, request: GenerationRequest, image_model: ImageModel) -> str:
    """A hash of what decides what the image shows. What it is called, or how it is made, does not."""
    wants = request.preferences
    shape = Preferences(display_width_px=wants.display_width_px, purpose=wants.purpose)
    plain = replace(request, metadata={}, tags=(), preferences=shape)
    largest = requester.api_key.max_image_size if requester.api_key else ""
    return hashlib.sha256(f"{fingerprint(plain, image_model.name)}|{largest}".encode()).hexdigest()
