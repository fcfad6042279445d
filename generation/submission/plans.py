"""From a request to a plan: model, choices, images sent along, price and quote. Writes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from accounts.authentication import Requester
from accounts.identifiers import parse_public_id
from generation import abilities, catalog, pricing
from generation.contract import GenerationRequest, Refusal
from generation.execution import calls
from generation.models import ImageModel, Media, Output, Price, Reference, State
from generation.references import output_media

_MAX_HISTORY_TURNS = 6


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


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything about a request that is settled before money is set aside."""

    image_model: ImageModel
    warnings: tuple[dict[str, str], ...]
    choices: abilities.Choices
    previous: Output | None
    history_depth: int
    input_image_count: int
    price: Price
    quote_micros: int


def find_model(request: GenerationRequest, *, now: datetime) -> catalog.Found:
    """The model asked for, with the checks that need no other look-up."""
    found = catalog.find(request.model, now=now)
    abilities.check(request, found.image_model)
    return found


def plan(
    requester: Requester,
    request: GenerationRequest,
    found: catalog.Found,
    *,
    now: datetime,
    first_size: tuple[int, int] | None = None,
) -> Plan:
    """Settle what a request means for this requester, or refuse. `first_size`: pixels of its first reference."""
    previous = find_previous(requester, request)
    if first_size is None and previous is not None:
        stored = Media.objects.get(output=previous)
        first_size = (stored.width, stored.height)
    largest_size = requester.api_key.max_image_size if requester.api_key else ""
    choices = abilities.choose(request, found.image_model, first_size, largest_size)
    abilities.check_key(requester.api_key, request, found.image_model, choices.image_size)
    price = catalog.required_price(found.image_model, choices.image_size, at=now)
    depth, history_images = _history(previous, found.image_model.max_references - len(request.references))
    image_count = len(request.references) + history_images
    quote_micros = pricing.quote(
        catalog.sale_rates(price),
        prompt=request.prompt,
        reference_count=image_count,
        is_grounded=request.search_grounding,
    )
    return Plan(
        image_model=found.image_model,
        warnings=found.warnings,
        choices=choices,
        previous=previous,
        history_depth=depth,
        input_image_count=image_count,
        price=price,
        quote_micros=quote_micros,
    )


def find_previous(requester: Requester, request: GenerationRequest) -> Output | None:
    """The output a request continues: named itself, or by a generation that has just one."""
    if not request.previous:
        return None
    generation_id = parse_public_id("gen", request.previous)
    if generation_id is None:
        return output_media(requester, request.previous, "previous").output
    outputs = list(
        Output.objects.filter(
            generation_id=generation_id, account=requester.account, mode=requester.mode, state=State.SUCCEEDED
        )[:2]
    )
    if not outputs:
        raise Refusal("invalid", "output_not_found", "There is no finished output of yours there.", param="previous")
    if len(outputs) > 1:
        raise Refusal(
            "invalid", "previous_ambiguous", "That generation has several outputs: name one of them.", param="previous"
        )
    return output_media(requester, outputs[0].public_id, "previous").output


def _history(previous: Output | None, free_images: int) -> tuple[int, int]:
    """How many earlier turns fit, newest first, and how many images they carry."""
    depth, images = 0, 0
    turn = previous
    while turn is not None and depth < _MAX_HISTORY_TURNS:
        carried = 1 + Reference.objects.filter(generation_id=turn.generation_id).count()
        if images + carried > free_images:
            break
        depth, images = depth + 1, images + carried
        turn = next(iter(calls.chain(turn.generation, 1)), None)
        if turn is not None and Media.objects.filter(output=turn).exclude(purged_at=None).exists():
            # An image that was forgotten cannot be sent along any more.
            break
    if previous is not None and not depth:
        raise Refusal(
            "invalid",
            "too_many_references",
            "There is no room left for the previous image: send fewer references.",
            param="references",
        )
    return depth, images
