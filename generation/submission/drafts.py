"""Drafts: the cheapest image model of a family in place of the one that was asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

from generation import abilities, catalog
from generation.channels import registry
from generation.contract import GenerationRequest, Refusal
from generation.models import ImageModel


def draft_of(request: GenerationRequest, found: catalog.Found, mode: str, *, now: datetime) -> catalog.Found:
    """The cheapest model of the family that can do what is asked and is open; the one asked for if that is cheapest."""
    family = [each for each in catalog.offered(now=now) if each.family and each.family == found.image_model.family]
    priced = sorted(_priced(request, family or [found.image_model], mode, now), key=lambda each: each[0])
    if not priced or priced[0][1] == found.image_model.pk:
        return found
    chosen = next(each for each in family if each.pk == priced[0][1])
    warning = {"code": "draft", "message": f"A draft is made by {chosen.name}, not by {found.image_model.name}."}
    return catalog.Found(chosen, (*found.warnings, warning))


def _priced(
    request: GenerationRequest, family: list[ImageModel], mode: str, now: datetime
) -> Iterator[tuple[int, str]]:
    for image_model in family:
        size = str(request.image_size if request.image_size in image_model.sizes else image_model.sizes[0])
        price = catalog.price_of(image_model, size, at=now)
        if price is not None and _can(request, image_model) and registry.is_served(mode, image_model.pk):
            yield price.image_micros, image_model.pk


def _can(request: GenerationRequest, image_model: ImageModel) -> bool:
    try:
        abilities.check(replace(request, image_size=None), image_model)
    except Refusal:
        return False
    return True
