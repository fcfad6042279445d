"""Whether there is a road for a request, and whether the roads it names exist."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from accounts.authentication import Requester
from generation import abilities, catalog
from generation.channels import registry
from generation.channels.models import Channel
from generation.channels.seed import HOUSE
from generation.contract import GenerationRequest, Refusal, invalid
from generation.models import ImageModel
from generation.preferences import LANE_SECONDS, Routing

_PARAMS = {"grounding": "search_grounding", "thinking": "thinking_level"}
# The warning that a name of another service's had no effect.
NAME_IGNORED = "name_ignored"


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
    routing, is_foreign = said(requester, request), request.preferences.routing.are_names_foreign
    unknown = {
        param: registry.unknown_names(requester.mode, names, requester.account.pk) if names else []
        for param, names in (("only", routing.only), ("order", routing.order))
    }
    models, unknown["fallback_models"] = [], []
    for place, name in enumerate(routing.fallback_models):
        try:
            models.append(_fallback(requester, request, name, f"routing.fallback_models[{place}]", now))
        except Refusal:
            if not is_foreign:
                raise
            unknown["fallback_models"].append(name)
    if not is_foreign:
        _refuse_unknown_channels(unknown)
    routing = replace(
        routing,
        only=_without(routing.only, unknown["only"]),
        order=_without(routing.order, unknown["order"]),
        fallback_models=tuple(dict.fromkeys(model.name for model in models)),
    )
    return Routed(routing, tuple(_ignored(param, name) for param, names in unknown.items() for name in names))


def _refuse_unknown_channels(unknown: Mapping[str, Sequence[str]]) -> None:
    for param, names in unknown.items():
        if names:
            raise invalid(f"routing.{param}", f"There is no channel {names[0][:60]!r} here.", "channel_not_found")


def _without(names: Sequence[str], unknown: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in names if name not in unknown)


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


def _unserved(requester: Requester, image_model: str) -> Refusal:
    """Why there is no road: the operator has none at all, none for this model, or what there is is out of order."""
    rows = Channel.objects.filter(mode=requester.mode, is_enabled=True, account=None).exclude(kind__in=HOUSE)
    ready = [row for row in rows if registry.is_ready(row)]
    own = registry.own_keys(requester.mode, image_model, registry.Needs(owner=registry.owner(requester.account.pk)))
    if own or any(registry.serves(row, image_model) for row in ready):
        return Refusal(
            "unavailable",
            "no_channel_available",
            "The channels for this model are out of service. The operator sees why in the admin under Channels.",
            retry_after_seconds=60,
        )
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
    owner = registry.owner(requester.account.pk)
    needs = [registry.Needs(lane, asked, owner) for lane in LANE_SECONDS]
    return any(registry.is_served(requester.mode, model, each) for model in image_models for each in needs)
