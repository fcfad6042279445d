"""What a request says of how it wants to be made, beside what it asks for. Pure Python."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

# The warning that a name of another service's had no effect.
NAME_IGNORED = "name_ignored"
SORTS = ("price", "latency", "success")
LANES = ("standard", "flex", "batch", "auto")
# How long a lane may take, by what its providers promise.
LANE_SECONDS = {"standard": 0, "flex": 15 * 60, "batch": 24 * 60 * 60}
# The largest size that a picture for such a place needs.
PURPOSES = {
    "thumbnail": "1K",
    "email": "1K",
    "social": "1K",
    "blog": "2K",
    "product": "2K",
    "hero": "4K",
    "print": "4K",
    "large_display": "4K",
}


@dataclass(frozen=True, slots=True)
class Routing:
    """What a request says of the roads it takes. Channels and image models go by their names.

    `only` shuts out every other channel, `order` puts some first, `sort` is one of SORTS or empty. A request that may
    cost more than `max_price_micros` an image is refused. `fallback_models` may make the image where the model asked
    for cannot. `on_failure` is "placeholder" where an older image, or a drawn one, is better than none. A second
    channel is called beside the first if that has not answered after `hedge_after_seconds`, which has a price.
    Where `are_names_foreign`, those that nothing here goes by have no effect, instead of being refused.
    """

    only: tuple[str, ...] = ()
    order: tuple[str, ...] = ()
    sort: str = ""
    max_price_micros: int | None = None
    fallback_models: tuple[str, ...] = ()
    on_failure: str = ""
    hedge_after_seconds: float | None = None
    are_names_foreign: bool = False

    def stored(self) -> dict[str, Any]:
        """What was said, as JSON; empty where nothing was."""
        return _said(self)

    def over(self, default: dict[str, Any]) -> Routing:
        """These, and the stored `default` wherever these say nothing."""
        names = {each.name for each in dataclasses.fields(self)}
        kept = {
            name: tuple(value) if isinstance(value, list) else value for name, value in default.items() if name in names
        }
        said = {name: getattr(self, name) for name in _said(self)}
        return Routing(**{**kept, **said})


@dataclass(frozen=True, slots=True)
class Cache:
    """How old a stored image of the same request may be, in seconds: at once, and where it cannot be made anew."""

    max_age_seconds: int = 3600
    stale_if_error_seconds: int = 0


@dataclass(frozen=True, slots=True)
class Preferences:
    """How quickly, how dear, how large, and by which roads.

    `lane` is one of LANES or empty for "standard"; `deadline_seconds` is what "auto" and "batch" may take. With
    `is_run_on`, an image that no job brought by then is made at once, at the usual price. A draft is
    made by the cheapest model of its family. Where the image size is "auto", `display_width_px` or `purpose`, one of
    PURPOSES, say what the picture is for.
    """

    lane: str = ""
    deadline_seconds: int | None = None
    is_run_on: bool = False
    is_draft: bool = False
    display_width_px: int | None = None
    purpose: str = ""
    routing: Routing = field(default_factory=Routing)
    cache: Cache | None = None

    @classmethod
    def of(cls, stored: dict[str, Any]) -> Preferences:
        """What `stored` was made of."""
        routing = Routing().over(stored.get("routing", {}))
        cache = Cache(**stored["cache"]) if stored.get("cache") else None
        return cls(**{**stored, "routing": routing, "cache": cache})

    def stored(self) -> dict[str, Any]:
        """What was said, as JSON; empty where nothing was."""
        parts = {"routing": self.routing.stored(), "cache": dataclasses.asdict(self.cache) if self.cache else None}
        return _said(self) | {name: value for name, value in parts.items() if value}


_PARTS = ("routing", "cache")


def _said(what: Routing | Preferences) -> dict[str, Any]:
    values = {each.name: getattr(what, each.name) for each in dataclasses.fields(what) if each.name not in _PARTS}
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in values.items()
        # 0 seconds say something.
        if value is not None and value is not False and value not in ((), "")
    }
