"""Requests that may be answered with what the same account had made before. Only for those that ask for it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from accounts.authentication import Requester
from generation.contract import GenerationRequest
from generation.execution.house_roads import HIT, MISS, STALE, made_before
from generation.fingerprints import fingerprint
from generation.models import ImageModel, Output
from generation.preferences import Cache, Preferences
from generation.submission.openness import said


@dataclass(frozen=True, slots=True)
class Kept:
    """What is known of a request's content: its hash, and the outputs of an earlier one like it, newest.

    `use` is HIT where these answer it, STALE where they only stand in if it cannot be made, MISS where there are none,
    or empty for who did not ask. Where `is_any_taken`, some picture is better than none.
    """

    content_sha256: str = ""
    outputs: Sequence[Output] = ()
    use: str = ""
    max_age: timedelta | None = None
    is_any_taken: bool = False

    @property
    def is_hit(self) -> bool:
        return self.use == HIT

    @property
    def has_stand_in(self) -> bool:
        """Whether there is something to show if no channel can make it."""
        return self.use == STALE or self.is_any_taken


def wanted(requester: Requester, request: GenerationRequest) -> Cache | None:
    """What the request says of stored images, or else its key."""
    if request.preferences.cache is not None or requester.api_key is None:
        return request.preferences.cache
    default = requester.api_key.routing.get("cache")
    return Cache(**default) if default else None


def look(requester: Requester, request: GenerationRequest, image_model: ImageModel, *, now: datetime) -> Kept:
    """What there is for a request that may be answered so, or that takes any picture rather than none."""
    cache, is_any_taken = wanted(requester, request), bool(said(requester, request).on_failure)
    if cache is None and not is_any_taken:
        return Kept()
    content = _content(requester, request, image_model)
    found = _found(requester, content, cache, now) if cache is not None else Kept(content)
    return replace(found, is_any_taken=is_any_taken)


def _found(requester: Requester, content: str, cache: Cache, now: datetime) -> Kept:
    max_age = timedelta(seconds=cache.max_age_seconds)
    found = made_before(requester.account.pk, requester.mode, content)
    if not found:
        return Kept(content, use=MISS, max_age=max_age)
    age = now - found[0].generation.created_at
    if age <= max_age:
        return Kept(content, found, HIT, max_age)
    is_stale = age <= max(max_age, timedelta(seconds=cache.stale_if_error_seconds))
    return Kept(content, found, STALE, max_age) if is_stale else Kept(content, use=MISS, max_age=max_age)


def _content(requester: Requester, request: GenerationRequest, image_model: ImageModel) -> str:
    """A hash of what decides what the image shows. What it is called, or how it is made, does not."""
    wants = request.preferences
    shape = Preferences(display_width_px=wants.display_width_px, purpose=wants.purpose)
    plain = replace(request, metadata={}, tags=(), preferences=shape)
    largest = requester.api_key.max_image_size if requester.api_key else ""
    return hashlib.sha256(f"{fingerprint(plain, image_model.name)}|{largest}".encode()).hexdigest()
