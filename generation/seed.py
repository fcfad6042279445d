"""Puts the catalogue and the price book that ship into an empty database, and adds what a release adds.

Rows that exist are never changed: the operator's prices are the operator's.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from generation.models import Cost, ImageModel, ModelAlias, Price

_DATA = Path(__file__).parent / "data" / "catalogue.json"


def _moment(day: str) -> datetime:
    return datetime.fromisoformat(day).replace(tzinfo=UTC)


def after_migrate(*, using: str, **_: Any) -> None:
    """Add missing rows. Cheap when nothing is missing."""
    data = json.loads(_DATA.read_text(encoding="utf-8"))
    for row in data["image_models"]:
        ImageModel.objects.using(using).get_or_create(name=row["name"], defaults=row)
    for row in data["aliases"]:
        defaults = {"image_model_id": row["image_model"], "note": row.get("note", "")}
        ModelAlias.objects.using(using).get_or_create(alias=row["alias"], defaults=defaults)
    for row in data["prices"]:
        _add_dated(Price, row, ("image_size", "lane"), using)
    for row in data["costs"]:
        _add_dated(Cost, row, ("channel_kind", "lane"), using)


def _add_dated(table: type[Price] | type[Cost], row: dict[str, Any], names: tuple[str, ...], using: str) -> None:
    row = {"lane": "standard", **row}
    identity = {name: row.pop(name) for name in names}
    identity |= {"image_model_id": row.pop("image_model"), "valid_from": _moment(row.pop("valid_from"))}
    table._default_manager.using(using).get_or_create(**identity, defaults=row)
