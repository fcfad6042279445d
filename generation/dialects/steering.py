"""How requests made for other services say by which roads, how soon and how dear they are made. Pure Python.

The names in them are those of channels and models here. Others belong to the service that the client was written for:
they have no effect, and what is accepted says so among its warnings.

OpenRouter: https://openrouter.ai/docs/guides/routing/provider-selection and .../model-fallbacks. AI Gateway:
https://vercel.com/docs/ai-gateway/models-and-providers/provider-options. Service tiers:
https://platform.openai.com/docs/guides/flex-processing and https://ai.google.dev/gemini-api/docs/flex-inference.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from generation.contract import invalid
from generation.dialects.fields import Fields, storable
from generation.preferences import Preferences, Routing

_SORTS = {
    "price": "price",
    "cost": "price",
    "latency": "latency",
    "throughput": "latency",
    "ttft": "latency",
    "tps": "latency",
}
_MAX_NAMES = 20
_MAX_NAME = 120
_MAX_USD = 1_000_000


@dataclass(frozen=True, slots=True)
class Steered:
    """The model asked for, and how it is to be made."""

    model: str
    preferences: Preferences


def as_openrouter(fields: Fields) -> Steered:
    """`model`, `models`, `provider` and `service_tier` of a body, as OpenRouter and OpenAI have them."""
    model, provider = fields.text("model"), fields.object("provider")
    models = _names(fields, "models")
    if not model and models:
        model = models[0]
    order, only = _names(provider, "order"), _names(provider, "only")
    if not only and not provider.flag("allow_fallbacks", True):
        only = order
    routing = Routing(
        only=only,
        order=order,
        sort=_sort(provider),
        max_price_micros=_micros(provider.object("max_price"), "image"),
        fallback_models=tuple(each for each in models if each != model),
        are_names_foreign=bool(only or order or models),
    )
    return Steered(model, Preferences(lane=_lane(fields.text("service_tier")), routing=routing))


def as_gateway(fields: Fields) -> Preferences:
    """`only`, `order`, `sort`, `models` and `serviceTier` of `providerOptions.gateway`."""
    only, order, models = _names(fields, "only"), _names(fields, "order"), _names(fields, "models")
    routing = Routing(
        only=only,
        order=order,
        sort=_sort(fields),
        fallback_models=models,
        are_names_foreign=bool(only or order or models),
    )
    return Preferences(lane=_lane(fields.text("serviceTier")), routing=routing)


def as_gemini(fields: Fields) -> Preferences:
    """`serviceTier` of a body."""
    tier = fields.text("serviceTier").lower().removeprefix("service_tier_")
    if tier not in ("", "unspecified", "standard", "flex"):
        raise invalid(fields.at("serviceTier"), "This is standard or flex.", "not_supported")
    return Preferences(lane=_lane(tier))


def _lane(tier: str) -> str:
    # Every other tier is a promise of speed, or the usual one.
    return "flex" if tier.lower() == "flex" else ""


def _names(fields: Fields, name: str) -> tuple[str, ...]:
    found = fields.list(name)[:_MAX_NAMES]
    if not all(isinstance(each, str) and 0 < len(each) <= _MAX_NAME for each in found):
        raise invalid(fields.at(name), f"This is a list of names of up to {_MAX_NAME} characters.")
    return tuple(dict.fromkeys(storable(each, fields.at(name)) for each in found))


def _sort(fields: Fields) -> str:
    """A name, or an object with one; what is not known here decides nothing."""
    value: Any = fields.raw("sort")
    if isinstance(value, dict):
        value = value.get("by")
    return _SORTS.get(value, "") if isinstance(value, str) else ""


def _micros(fields: Fields, name: str) -> int | None:
    """Dollars, as a number or a text."""
    value = fields.raw(name)
    if value is None:
        return None
    try:
        usd = Decimal(str(value)) if not isinstance(value, bool) else None
    except InvalidOperation:
        usd = None
    if usd is None or not usd.is_finite() or not 0 <= usd <= _MAX_USD:
        raise invalid(fields.at(name), "This is an amount of US dollars.")
    return int(usd * 1_000_000)
