"""Whether there is a road for a request, and whether the roads it names exist."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from accounts.authentication import Requester
from generation import abilities, catalog
from generation.channels import registry
from generation.channels.models import Channel
from generation.channels.seed import HOUSE
from generation.contract import GenerationRequest, Refusal, invalid
from generation.models import ImageModel
from generation.preferences import LANE_SECONDS, NAME_IGNORED, Routing

_PARAMS = {"grounding": "search_grounding", "thinking": "thinking_level"}


@dataclass(frozen=True, slots=True)
class Routed:
    """What a request says of its roads, in names that are known here, and what of it has no effect."""

    routing: Routing
    warnings: tuple[dict[str, str], ...] = ()


def abilities_of(request: GenerationRequest) -> frozenset[str]:
    """What a request asks of a road beside pictures for words."""
    return registry.abilities(grounding=request.search_grounding, thinking=bool(request.thinking_level))


def said(requester: Requester, request: GenerationRequest) -> Routing:
    """What the request says of its roads, and its key where it says nothing."""
    return request.preferences.routing.over(requester.api_key.routing if requester.api_key else {})


def routing_of(requester: Requester, request: GenerationRequest, *, now: datetime) -> Routed:
    """The same with its names looked up. Refuses those that nobody has, where they are meant for this service."""
    own = request.preferences.routing
    ignored: list[tuple[str, str]] = []
    if own.are_names_foreign:
        own, ignored = _without_foreign(requester, request, own, now)
    routing = said(requester, replace(request, preferences=replace(request.preferences, routing=own)))
    for param, names in (("only", routing.only), ("order", routing.order)):
        for name in _unknown(requester, names):
            raise invalid(f"routing.{param}", f"There is no channel {name[:60]!r} here.", "channel_not_found")
    models = [
        _fallback(requester, request, name, f"routing.fallback_models[{place}]", now).name
        for place, name in enumerate(routing.fallback_models)
    ]
    routing = replace(routing, fallback_models=tuple(dict.fromkeys(models)))
    return Routed(routing, tuple(_ignored(param, name) for param, name in ignored))


def _unknown(requester: Requester, names: Sequence[str]) -> list[str]:
    return registry.unknown_names(requester.mode, names, requester.account.pk) if names else []


def _without_foreign(
    requester: Requester, request: GenerationRequest, routing: Routing, now: datetime
) -> tuple[Routing, list[tuple[str, str]]]:
    """What of a request's own words means something here, and what does not, as (parameter, name)."""
    ignored = [("only", name) for name in _unknown(requester, routing.only)]
    ignored += [("order", name) for name in _unknown(requester, routing.order)]
    for name in routing.fallback_models:
        try:
            _fallback(requester, request, name, "", now)
        except Refusal:
            ignored.append(("fallback_models", name))

    def known(param: str, names: Sequence[str]) -> tuple[str, ...]:
        return tuple(name for name in names if (param, name) not in ignored)

    kept = replace(
        routing,
        only=known("only", routing.only),
        order=known("order", routing.order),
        fallback_models=known("fallback_models", routing.fallback_models),
    )
    return kept, ignored


def _ignored(param: str, name: str) -> dict[str, str]:
    message = f"{name[:60]!r} in {param} is no name that this service knows, and has no effect."
    return {"code": NAME_IGNORED, "message": message}


def _fallback(requester: Requester, request: GenerationRequest, name: str, param: str, now: datetime) -> ImageModel:
    try:
        image_model = catalog.find(name, now=now).image_model
        abilities.check(replace(request, image_size=None), image_model)
    except Refusal as refusal:
        raise invalid(param, refusal.message, refusal.code) from None
    abilities.check_key(requester.api_key, request, image_model, image_model.sizes[0])
    return image_model


def check_channel(
    requester: Requester, request: GenerationRequest, image_models: Sequence[str], has_stand_in: bool
) -> None:
    """Refuse what no channel could make now with any of these models, unless something may stand in for it."""
    if _is_served(requester, image_models, frozenset()):
        _check_needs(requester, request, image_models)
        return
    if has_stand_in:
        return
    raise _unserved(requester, image_models[0])


def out_of_service() -> Refusal:
    """There are channels for it, and they are out of order."""
    return Refusal(
        "unavailable",
        "no_channel_available",
        "The channels for this model are out of service. The operator sees why in the admin under Channels.",
        retry_after_seconds=60,
    )


def _unserved(requester: Requester, image_model: str) -> Refusal:
    """Why there is no road: the operator has none at all, none for this model, or what there is is out of order."""
    rows = Channel.objects.filter(mode=requester.mode, is_enabled=True, account=None).exclude(kind__in=HOUSE)
    ready = [row for row in rows if registry.is_ready(row)]
    own = registry.own_keys(requester.mode, image_model, registry.owner(requester.account.pk))
    if own or any(registry.serves(row, image_model) for row in ready):
        return out_of_service()
    if ready:
        return invalid("model", f"No channel here makes images with {image_model}.", "model_not_available")
    if requester.mode == "live":
        message = (
            "No channel configured for live images. Operator: set GEMINI_API_KEY and restart, or add a channel in "
            "the admin under Channels. Meanwhile a test key works on the sandbox."
        )
    else:
        message = "The sandbox channel is switched off. Operator: enable it in the admin under Channels."
    return Refusal("unavailable", "no_channel_configured", message)


def _check_needs(requester: Requester, request: GenerationRequest, image_models: Sequence[str]) -> None:
    for ability in sorted(abilities_of(request)):
        if not _is_served(requester, image_models, frozenset({ability})):
            message = f"No channel for {image_models[0]} offers {ability} here."
            raise invalid(_PARAMS[ability], message, "not_supported")


def _is_served(requester: Requester, image_models: Sequence[str], asked: frozenset[str]) -> bool:
    """Whether there is a road in some lane; which lane it is, is settled later."""
    needs = needs_of(requester, image_models[0], asked)
    each_lane = [replace(needs, lane=lane) for lane in LANE_SECONDS]
    return any(registry.is_served(requester.mode, model, each) for model in image_models for each in each_lane)


def needs_of(requester: Requester, image_model: str, asked: frozenset[str]) -> registry.Needs:
    """What a request for a model asks of a road. Where only the account's own keys may serve, no other model opens the
    house's channels to it."""
    owner = registry.owner(requester.account.pk)
    is_own_only = registry.is_own_only(requester.mode, image_model, owner)
    return registry.Needs(abilities=asked, owner=owner, is_own_only=is_own_only)
