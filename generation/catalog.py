"""A public name becomes an image model, its abilities and its price of the day. No price, no service.

What was looked up is remembered for a moment; rows that come out of here are shared and never changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.db.models.signals import post_delete, post_save

from accounts.remembered import Remembered
from generation.contract import SIZES, Refusal, invalid
from generation.models import Cost, ImageModel, ModelAlias, Price
from generation.preferences import LANE_SECONDS
from generation.pricing import CostRates, SaleRates


@dataclass(frozen=True, slots=True)
class Found:
    """An image model and what the caller should know about the name that led to it."""

    image_model: ImageModel
    warnings: tuple[dict[str, str], ...] = ()


def find(name: str, *, now: datetime) -> Found:
    """The image model behind a public name; the default model for an empty one. Refuses unknown and retired ones."""
    image_model, alias = _MODELS.get(name) if name.isprintable() else (None, None)
    if image_model is None:
        raise invalid(
            "model", f"There is no image model {name[:120]!r}. GET /api/v1/models lists them.", "model_not_found"
        )
    if not name:
        return Found(_checked(image_model, now))
    if alias is None:
        return Found(_checked(image_model, now), _lifecycle_warnings(image_model, now))
    note = f" {alias.note}" if alias.note else ""
    warning = {"code": "model_alias", "message": f"{alias.alias} is an alias of {alias.image_model_id}.{note}"}
    return Found(_checked(image_model, now), (warning, *_lifecycle_warnings(image_model, now)))


def named(names: Sequence[str], *, at: datetime) -> list[ImageModel]:
    """The image models behind names of the catalogue that can be asked for, in order; others are left out."""
    found = [_MODELS.get(name)[0] for name in names]
    return [each for each in found if each and each.is_enabled and not _is_shut_down(each, at)]


def _is_shut_down(image_model: ImageModel, at: datetime) -> bool:
    return image_model.shutdown_on is not None and image_model.shutdown_on <= at.date()


def _model_of(name: str) -> tuple[ImageModel | None, ModelAlias | None]:
    if not name:
        return ImageModel.objects.get(is_default=True), None
    direct = ImageModel.objects.filter(name=name).first()
    if direct is not None:
        return direct, None
    alias = ModelAlias.objects.select_related("image_model").filter(alias=name).first()
    return (alias.image_model, alias) if alias else (None, None)


def _checked(image_model: ImageModel, now: datetime) -> ImageModel:
    if not image_model.is_enabled:
        raise invalid("model", f"{image_model.name} is not offered here.", "model_not_available")
    if _is_shut_down(image_model, now):
        raise invalid("model", f"{image_model.name} was shut down on {image_model.shutdown_on}.", "model_not_available")
    return image_model


def _lifecycle_warnings(image_model: ImageModel, now: datetime) -> tuple[dict[str, str], ...]:
    if image_model.deprecated_on is None or image_model.deprecated_on > now.date():
        return ()
    until = f" It will be shut down on {image_model.shutdown_on}." if image_model.shutdown_on else ""
    return ({"code": "model_deprecated", "message": f"{image_model.name} is deprecated.{until}"},)


def offered(*, now: datetime) -> Sequence[ImageModel]:
    """Every image model that can be asked for today, the default first."""
    rows = ImageModel.objects.filter(is_enabled=True).order_by("-is_default", "name").prefetch_related("aliases")
    return [row for row in rows if not _is_shut_down(row, now)]


def price_of(image_model: ImageModel, image_size: str, *, at: datetime, lane: str = "standard") -> Price | None:
    """The row of the price book in force, or None if the size has no price."""
    rows = _PRICES.get((image_model.pk, image_size, lane))
    return next((row for row in rows if row.valid_from <= at), None)


def _prices(key: tuple[str, str, str]) -> list[Price]:
    rows = Price.objects.filter(image_model=key[0], image_size=key[1], lane=key[2])
    return list(rows.order_by("-valid_from"))


def prices_of(image_model: ImageModel, *, at: datetime, lane: str = "standard") -> dict[str, Price]:
    """Size -> price in force in a lane, for the sizes that have one."""
    found = {size: price_of(image_model, size, at=at, lane=lane) for size in image_model.sizes}
    return {size: price for size, price in found.items() if price is not None}


def required_price(image_model: ImageModel, image_size: str, *, at: datetime, lane: str = "standard") -> Price:
    """The price in force, or a refusal: what has no price is not sold, least of all for nothing."""
    price = price_of(image_model, image_size, at=at, lane=lane)
    if price is None:
        raise Refusal(
            "invalid", "price_not_set", f"{image_model.name} has no price for {image_size} here.", param="image_size"
        )
    return price


def delivered_price(
    asked: Price, delivered_size: str, *, at: datetime, image_model: ImageModel | None = None, lane: str = ""
) -> Price:
    """The price of what came: the delivered model's; the delivered size's when it is smaller than asked.

    `image_model` and `lane` are what it was made by and in, where that is not what was asked for.
    """
    if lane:
        asked = price_of(asked.image_model, asked.image_size, at=at, lane=lane) or asked
    if image_model is not None:
        sizes = [size for size in reversed(SIZES) if SIZES.index(size) <= SIZES.index(delivered_size)]
        found = (price_of(image_model, size, at=at, lane=asked.lane) for size in sizes)
        return next((price for price in found if price is not None), asked)
    if SIZES.index(delivered_size) >= SIZES.index(asked.image_size):
        return asked
    return price_of(asked.image_model, delivered_size, at=at, lane=asked.lane) or asked


def size_made(image_model: ImageModel, asked: str) -> str:
    """The size that a model is asked for where it stands in for another: the one asked for, or its largest below it."""
    below = [size for size in image_model.sizes if SIZES.index(size) <= SIZES.index(asked)]
    return str(max(below or image_model.sizes[:1] or [asked], key=SIZES.index))


def cost_of(channel_kind: str, image_model: ImageModel, *, at: datetime, lane: str = "standard") -> CostRates:
    """What a kind of channel bills for a model; nothing known is nothing billed (the sandbox)."""
    row = next((row for row in _COSTS.get((channel_kind, image_model.pk, lane)) if row.valid_from <= at), None)
    if row is None:
        return CostRates()
    return CostRates(
        input_micros_per_million_tokens=row.input_micros_per_million_tokens,
        text_output_micros_per_million_tokens=row.text_output_micros_per_million_tokens,
        image_output_micros_per_million_tokens=row.image_output_micros_per_million_tokens,
        grounding_query_micros=row.grounding_query_micros,
        image_tokens_by_size=dict(row.image_tokens_by_size),
        image_micros_by_size=dict(row.image_micros_by_size),
    )


def has_cost(channel_kind: str, image_model: str) -> bool:
    """Whether it is known what a kind of channel bills for a model: it serves no other, unless it is told to."""
    return any(_COSTS.get((channel_kind, image_model, lane)) for lane in LANE_SECONDS)


def _costs(key: tuple[str, str, str]) -> list[Cost]:
    rows = Cost.objects.filter(channel_kind=key[0], image_model=key[1], lane=key[2])
    return list(rows.order_by("-valid_from"))


def _seconds() -> float:
    return float(settings.NBP_CATALOGUE_SECONDS)


_MODELS = Remembered(_model_of, seconds=_seconds)
_PRICES = Remembered(_prices, seconds=_seconds)
_COSTS = Remembered(_costs, seconds=_seconds)


def forget(**_: object) -> None:
    """Look at the rows again: something in the catalogue or the price book was changed here."""
    for memory in (_MODELS, _PRICES, _COSTS):
        memory.forget()


def watch_changes() -> None:
    """Forget when this process changes the catalogue; others follow within NBP_CATALOGUE_SECONDS."""
    for model in (ImageModel, ModelAlias, Price, Cost):
        post_save.connect(forget, sender=model, dispatch_uid=f"catalog.{model.__name__}.saved")
        post_delete.connect(forget, sender=model, dispatch_uid=f"catalog.{model.__name__}.deleted")


def sale_rates(price: Price) -> SaleRates:
    """The row's numbers for `pricing`."""
    return SaleRates(
        image_micros=price.image_micros,
        reference_micros=price.reference_micros,
        input_micros_per_million_tokens=price.input_micros_per_million_tokens,
        input_allowance_tokens=price.input_allowance_tokens,
        grounding_micros=price.grounding_micros,
        markup_basis_points=price.markup_basis_points,
    )
