"""Whether there is a road for a request, and whether the roads it names exist."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from accounts.authentication import Requester
from generation import abilities, catalog
from generation.channels import registry
from generation.channels.models import Channel
from generation.contract import GenerationRequest, Refusal, invalid
from generation.models import ImageModel
from generation.preferences import LANE_SECONDS, Routing

_PARAMS = {"grounding": "search_grounding", "thinking": "thinking_level"}


def abilities_of(request: GenerationRequest) -> frozenset[str]:
    """What a request asks of a road beside pictures for words."""
    return registry.abilities(grounding=request.search_grounding, thinking=bool(request.thinking_level))


def routing_of(requester: Requester, request: GenerationRequest, *, now: datetime) -> Routing:
    """What the request says of its roads, and its key where it says nothing. Refuses names that nobody has."""
    default = requester.api_key.routing if requester.api_key else {}
    routing = request.preferences.routing.over(default)
    for param, names in (("only", routing.only), ("order", routing.order)):
        unknown = registry.unknown_names(requester.mode, names, requester.account.pk) if names else ()
        if unknown:
            message = f"There is no channel {unknown[0][:60]!r} here."
            raise invalid(f"routing.{param}", message, "channel_not_found")
    models = [
        _fallback(request, name, f"routing.fallback_models[{place}]", now)
        for place, name in enumerate(routing.fallback_models)
    ]
    for model in models:
        abilities.check_key(requester.api_key, request, model, model.sizes[0])
    return replace(routing, fallback_models=tuple(model.name for model in models))


def _fallback(request: GenerationRequest, name: str, param: str, now: datetime) -> ImageModel:
    try:
        image_model = catalog.find(name, now=now).image_model
        abilities.check(replace(request, image_size=None), image_model)
    except Refusal as refusal:
        raise invalid(param, refusal.message, refusal.code) from None
    return image_model


def check_channel(requester: Requester, request: GenerationRequest, image_model: str) -> None:
    """Refuse what no channel could make now."""
    owner = registry.owner(requester.account.pk)
    needs = [registry.Needs(lane, owner=owner) for lane in LANE_SECONDS]
    if any(registry.is_served(requester.mode, image_model, each) for each in needs):
        _check_needs(requester, request, image_model)
        return
    if Channel.objects.filter(mode=requester.mode, is_enabled=True).exclude(disabled_reason="").exists():
        raise Refusal(
            "unavailable",
            "no_channel_available",
            "The channels for this model are out of service. The operator sees why in the admin under Channels.",
            retry_after_seconds=60,
        )
    if requester.mode == "live":
        message = (
            "No channel configured for live images. Operator: set GEMINI_API_KEY and restart, or add a channel in "
            "the admin under Channels. Meanwhile a test key works on the sandbox."
        )
    else:
        message = "The sandbox channel is switched off. Operator: enable it in the admin under Channels."
    raise Refusal("unavailable", "no_channel_configured", message)


def _check_needs(requester: Requester, request: GenerationRequest, image_model: str) -> None:
    """Every lane needs a road that can do what is asked; which lane it is, is settled later."""
    owner = registry.owner(requester.account.pk)
    for ability in sorted(abilities_of(request)):
        needs = [registry.Needs(lane, frozenset({ability}), owner) for lane in LANE_SECONDS]
        if not any(registry.is_served(requester.mode, image_model, each) for each in needs):
            message = f"No channel for {image_model} offers {ability} here."
            raise invalid(_PARAMS[ability], message, "not_supported")
