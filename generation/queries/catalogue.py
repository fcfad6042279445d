"""Reads of the catalogue for doors and pages: models with abilities and prices as a customer sees them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from generation import catalog, pricing
from generation.channels import registry
from generation.models import ImageModel, Price
from generation.preferences import LANE_SECONDS


def image_models(*, now: datetime) -> list[dict[str, Any]]:
    """Every model that can be asked for, the default first. A size without a price is not listed.

    Once there are live channels, it is those models that they serve.
    """
    rows = catalog.offered(now=now)
    served = registry.served_models("live", [row.name for row in rows])
    return [_image_model(row, now) for row in rows if row.name in served or not served]


def _image_model(row: ImageModel, now: datetime) -> dict[str, Any]:
    prices = catalog.prices_of(row, at=now)
    all_prices = [price for lane in LANE_SECONDS for price in catalog.prices_of(row, at=now, lane=lane).items()]
    return {
        "id": row.name,
        "title": row.title,
        "provider": row.provider,
        "is_default": row.is_default,
        "aliases": sorted(alias.alias for alias in row.aliases.all()),
        "sizes": list(prices),
        "default_size": row.default_size,
        "aspect_ratios": row.aspect_ratios,
        "max_prompt_characters": row.max_prompt_characters,
        "max_n": row.max_n,
        "max_references": row.max_references,
        "max_subjects": row.max_subjects,
        "search_grounding": row.has_search_grounding,
        "thinking_levels": row.thinking_levels,
        "multi_turn": row.has_multi_turn,
        "released_on": row.released_on,
        "deprecated_on": row.deprecated_on,
        "shutdown_on": row.shutdown_on,
        "prices": [_price(size, price) for size, price in all_prices],
    }


def _price(size: str, row: Price) -> dict[str, Any]:
    def with_markup(micros: int) -> int:
        rates = pricing.SaleRates(image_micros=micros, markup_basis_points=row.markup_basis_points)
        return pricing.sale_price(rates, reference_count=0, input_text_tokens=0, is_grounded=False)

    return {
        "image_size": size,
        "lane": row.lane,
        "image_micros": with_markup(row.image_micros),
        "reference_micros": with_markup(row.reference_micros),
        "grounding_micros": with_markup(row.grounding_micros),
        "input_micros_per_million_tokens": with_markup(row.input_micros_per_million_tokens),
        "input_allowance_tokens": row.input_allowance_tokens,
    }
