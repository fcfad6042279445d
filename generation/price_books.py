"""Whole price books for forecasts: as the database has them now, with the rows of a file laid over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from generation import catalog
from generation.forecasts import Book, Line, Model
from generation.models import Charge, Cost, ImageModel, ModelAlias, Price
from generation.pricing import CostRates, SaleRates


def current(*, at: datetime) -> Book:
    """The book in force."""
    models = {row.name: row for row in catalog.offered(now=at)}
    sales = {
        (row.image_model_id, row.image_size, row.lane): catalog.sale_rates(row)
        for row in Price.objects.filter(valid_from__lte=at).order_by("valid_from")
    }
    costs = {
        (row.channel_kind, row.image_model_id, row.lane): catalog.cost_of(
            row.channel_kind, models[row.image_model_id], at=at, lane=row.lane
        )
        for row in Cost.objects.filter(image_model__in=models, valid_from__lte=at)
    }
    return Book(
        models={name: _model(row) for name, row in models.items()},
        sales=sales,
        costs=costs,
        aliases=dict(ModelAlias.objects.values_list("alias", "image_model_id")),
        default_model=next((name for name, row in models.items() if row.is_default), ""),
    )


def laid_over(book: Book, rows: Mapping[str, Any]) -> Book:
    """The book with other prices and costs, written as in the catalogue that ships.

    Raises TypeError and KeyError for rows that are none.
    """
    sales = {_key(row, "image_model", "image_size"): _rates(SaleRates, row) for row in rows.get("prices", ())}
    costs = {_key(row, "channel_kind", "image_model"): _rates(CostRates, row) for row in rows.get("costs", ())}
    return Book(
        models=book.models,
        sales={**book.sales, **sales},
        costs={**book.costs, **costs},
        aliases=book.aliases,
        default_model=book.default_model,
    )


def _key(row: Mapping[str, Any], first: str, second: str) -> tuple[str, str, str]:
    return str(row[first]), str(row[second]), str(row.get("lane", "standard"))


def _rates(kind: type[Any], row: Mapping[str, Any]) -> Any:
    """A row without a mark-up has the price book's usual one."""
    names = set(kind.__dataclass_fields__)
    values = {name: value for name, value in row.items() if name in names}
    if kind is SaleRates:
        values.setdefault("markup_basis_points", Price._meta.get_field("markup_basis_points").default)
        values.setdefault("input_allowance_tokens", Price._meta.get_field("input_allowance_tokens").default)
    return kind(**values)


def _model(row: ImageModel) -> Model:
    return Model(row.name, row.family, tuple(row.sizes), row.default_size)


def delivered(*, since: datetime, until: datetime) -> Iterator[Line]:
    """What was delivered and charged in live mode in a time, as it was asked for and measured."""
    charges = Charge.objects.filter(mode="live", created_at__gte=since, created_at__lt=until).order_by("pk")
    rows = charges.select_related("output__generation").iterator(chunk_size=1000)
    for row in rows:
        generation, usage = row.output.generation, row.output.usage or {}
        waits = generation.deadline_at - generation.created_at if generation.deadline_at else None
        yield Line(
            model=generation.image_model_id,
            image_size=row.image_size,
            prompt=generation.prompt,
            reference_count=row.reference_count,
            is_grounded=generation.is_grounded,
            deadline_seconds=int(waits.total_seconds()) if waits else None,
            lane=generation.price.lane if not waits else "",
            thinking_tokens=usage.get("thinking_tokens"),
        )
