"""From a request to a plan: model, choices, images sent along, price and quote. Writes nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from accounts.authentication import Requester
from generation import abilities, catalog, pricing
from generation.contract import GenerationRequest
from generation.models import ImageModel, Media, Output, Price
from generation.preferences import Routing
from generation.references import Prepared
from generation.submission import lanes
from generation.submission.caching import Kept
from generation.submission.drafts import draft_of
from generation.submission.lanes import Terms
from generation.submission.openness import Routed, abilities_of, needs_of
from generation.submission.turns import find_previous, history


@dataclass(frozen=True, slots=True)
class Quote:
    """The most a request may cost: per image and in all, in micro-dollars."""

    model: str
    image_size: str
    aspect_ratio: str
    n: int
    per_image_micros: int
    total_micros: int
    warnings: tuple[dict[str, str], ...]
    lane: str
    lane_reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything about a request that is settled before money is set aside."""

    image_model: ImageModel
    warnings: tuple[dict[str, str], ...]
    choices: abilities.Choices
    previous: Output | None
    history_depth: int
    input_image_count: int
    terms: Terms
    routing: Routing
    kept: Kept
    is_own_only: bool

    @property
    def quote_micros(self) -> int:
        """The most one image may cost."""
        return self.terms.quote_micros


def find_model(requester: Requester, request: GenerationRequest, *, now: datetime) -> catalog.Found:
    """The model asked for, or its draft, with the checks that need no other look-up."""
    found = catalog.find(request.model, now=now)
    if request.preferences.is_draft:
        found = draft_of(request, found, requester.mode, now=now)
        request = _as_draft(request, found.image_model)
    abilities.check(request, found.image_model)
    return found


def _as_draft(request: GenerationRequest, image_model: ImageModel) -> GenerationRequest:
    """A draft is as small as need be where the drafting model does not make the size."""
    size = request.image_size if request.image_size in (*image_model.sizes, abilities.AUTO) else None
    return replace(request, image_size=size)


def plan(
    requester: Requester,
    request: GenerationRequest,
    found: catalog.Found,
    *,
    now: datetime,
    routed: Routed,
    kept: Kept,
    first: Prepared | None = None,
    is_batch: bool = False,
) -> Plan:
    """Settle what a request means for this requester, or refuse. `first` is its first reference."""
    if request.preferences.is_draft:
        request = _as_draft(request, found.image_model)
    previous = find_previous(requester, request)
    shape = first or (Media.objects.get(output=previous) if previous else None)
    first_size = (shape.width, shape.height) if shape else None
    largest_size = requester.api_key.max_image_size if requester.api_key else ""
    choices = abilities.choose(request, found.image_model, first_size, largest_size)
    abilities.check_key(requester.api_key, request, found.image_model, choices.image_size)
    depth, history_images = history(previous, found.image_model.max_references - len(request.references))
    image_count = len(request.references) + history_images
    needs = needs_of(requester, found.image_model.name, abilities_of(request))
    asked = lanes.Asked(requester.mode, found.image_model, choices.image_size, needs, now, routed, kept)
    wanted = replace(request.preferences, routing=routed.routing)
    return Plan(
        image_model=found.image_model,
        warnings=(*found.warnings, *routed.warnings),
        choices=choices,
        previous=previous,
        history_depth=depth,
        input_image_count=image_count,
        terms=lanes.settle(asked, wanted, is_batch=is_batch, quote=partial(_quote, request, image_count)),
        routing=routed.routing,
        kept=kept,
        is_own_only=needs.is_own_only,
    )


def _quote(request: GenerationRequest, image_count: int, price: Price) -> int:
    return pricing.quote(
        catalog.sale_rates(price),
        prompt=request.prompt,
        reference_count=image_count,
        is_grounded=request.search_grounding,
    )
