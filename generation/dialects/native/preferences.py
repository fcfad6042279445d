"""How a create says how quickly, how dear and by which roads: its shape, and its way into our words."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from rest_framework import serializers

from generation.dialects.native.fields import FlagField, StrictSerializer, TextField, WholeField
from generation.preferences import LANES, PURPOSES, SORTS, Cache, Preferences, Routing

_LONGEST_DEADLINE_SECONDS = 48 * 60 * 60
_WIDEST_PX = 16_384
_LONGEST_HEDGE_SECONDS = 300
_LONGEST_CACHE_SECONDS = 365 * 24 * 60 * 60


def _names(help_text: str) -> serializers.ListField:
    return serializers.ListField(child=TextField(max_length=120), required=False, max_length=20, help_text=help_text)


class UsdField(serializers.DecimalField):
    """Dollars, as a number or as text."""

    def __init__(self, **options: Any) -> None:
        super().__init__(max_digits=12, decimal_places=6, min_value=Decimal(0), **options)

    def to_internal_value(self, data: Any) -> Decimal:
        if isinstance(data, bool):
            self.fail("invalid")
        return super().to_internal_value(data)


class RoutingSchema(StrictSerializer):
    """Which roads, and what instead."""

    only = _names("Channels that may make the image, by name.")
    order = _names("Channels to try first, in this order.")
    sort = serializers.ChoiceField(choices=SORTS, required=False, help_text="What decides among all others.")
    max_price_usd = UsdField(required=False, help_text="Refuse the request if an image may cost more.")
    fallback_models = _names("Models that may make the image where the one asked for cannot, in order.")
    hedge_after_seconds = serializers.FloatField(
        required=False,
        min_value=0,
        max_value=_LONGEST_HEDGE_SECONDS,
        help_text="Call a second channel if the first has not answered after so long (0: at once). The first image "
        "counts; the price of the second call is added if it was made.",
    )
    on_failure = serializers.ChoiceField(
        choices=["placeholder"],
        required=False,
        help_text="placeholder: rather than fail, show the newest image made for the same request, or a drawn one that "
        "says so. Free.",
    )


class CacheSchema(StrictSerializer):
    """How old an image may be that was made before, for the same account and the same request."""

    max_age_seconds = WholeField(required=False, default=3600, min_value=0, max_value=_LONGEST_CACHE_SECONDS)
    stale_if_error_seconds = WholeField(
        required=False,
        default=0,
        min_value=0,
        max_value=_LONGEST_CACHE_SECONDS,
        help_text="How old it may be where no channel can make the image.",
    )


class PreferencesSchema(StrictSerializer):
    """The fields of a create that say how, not what."""

    lane = serializers.ChoiceField(
        choices=LANES,
        required=False,
        default="",
        help_text="standard: at once. flex: within minutes. batch: within a day. auto: the cheapest that meets the "
        "deadline. Default: standard.",
    )
    deadline_seconds = WholeField(
        required=False,
        allow_null=True,
        default=None,
        min_value=1,
        max_value=_LONGEST_DEADLINE_SECONDS,
        help_text="How long auto and batch may take. Default: 15 minutes for auto, a day for batch.",
    )
    run_on = FlagField(
        required=False,
        default=False,
        help_text="An image that its lane did not bring by the deadline is made at once, at the usual price, which is "
        "held. Otherwise it fails for free.",
    )
    draft = FlagField(required=False, default=False, help_text="The cheapest model of the family makes it.")
    display_width_px = WholeField(
        required=False,
        allow_null=True,
        default=None,
        min_value=1,
        max_value=_WIDEST_PX,
        help_text="With image_size auto: the smallest size that is wide enough.",
    )
    purpose = serializers.ChoiceField(
        choices=list(PURPOSES), required=False, default="", help_text="With image_size auto: what the image is for."
    )
    routing = RoutingSchema(required=False, default=dict)
    cache = CacheSchema(
        required=False,
        allow_null=True,
        default=None,
        help_text="Answer with what was made before, or is being made. {} is an hour at most.",
    )


def parse(data: Mapping[str, Any]) -> Preferences:
    """A checked body's preferences."""
    return Preferences(
        lane=data["lane"],
        deadline_seconds=data["deadline_seconds"],
        is_run_on=data["run_on"],
        is_draft=data["draft"],
        display_width_px=data["display_width_px"],
        purpose=data["purpose"],
        routing=_routing(data["routing"]),
        cache=Cache(**data["cache"]) if data["cache"] is not None else None,
    )


def _routing(data: Mapping[str, Any]) -> Routing:
    most = data.get("max_price_usd")
    return Routing(
        only=tuple(data.get("only", ())),
        order=tuple(data.get("order", ())),
        sort=data.get("sort", ""),
        max_price_micros=None if most is None else int(most * 1_000_000),
        fallback_models=tuple(data.get("fallback_models", ())),
        on_failure=data.get("on_failure", ""),
        hedge_after_seconds=data.get("hedge_after_seconds"),
    )
