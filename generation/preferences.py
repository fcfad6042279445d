"""What a request says of how it wants to be made, beside what it asks for. Pure Python."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

SORTS = ("price", "latency", "success")


@dataclass(frozen=True, slots=True)
class Routing:
    """What a request says of the roads it takes. Channels and image models go by their names.

    `only` shuts out every other channel, `order` puts some first, `sort` is one of SORTS or empty. `fallback_models`
    may make the image where the model asked for cannot.
    """

    only: tuple[str, ...] = ()
    order: tuple[str, ...] = ()
    sort: str = ""
    max_price_micros: int | None = None
    fallback_models: tuple[str, ...] = ()

    def stored(self) -> dict[str, Any]:
        """What the road has to know, as JSON; empty where nothing was said."""
        found = {"only": self.only, "order": self.order, "sort": self.sort, "fallback_models": self.fallback_models}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items() if value}
