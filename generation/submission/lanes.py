"""Which lane a request takes, and what it costs there: the one asked for, or the cheapest that meets the deadline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from accounts.money import usd
from generation import catalog
from generation.channels import registry
from generation.contract import Refusal, invalid
from generation.models import ImageModel, Price
from generation.preferences import LANE_SECONDS, Preferences
from generation.submission.caching import Kept
from generation.submission.openness import Routed, out_of_service

# What "auto" without a deadline waits for.
_DEFAULT_DEADLINE_SECONDS = LANE_SECONDS["flex"]
_TAKES = {"standard": "at once", "flex": "within 15 minutes", "batch": "within a day"}


@dataclass(frozen=True, slots=True)
class Terms:
    """A lane with its price and the most one image may cost, and why it was this one, for the caller."""

    lane: str
    price: Price
    quote_micros: int
    reason: str
    deadline: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """What a lane has to serve, with this model or one of those that may stand in; some picture may, too."""

    mode: str
    image_model: ImageModel
    image_size: str
    needs: registry.Needs
    at: datetime
    routed: Routed
    kept: Kept

    def price(self, lane: str) -> Price | None:
        return catalog.price_of(self.image_model, self.image_size, at=self.at, lane=lane)

    def is_served(self, lane: str) -> bool:
        if lane == "standard" and self.kept.has_stand_in:
            return True
        needs, names = replace(self.needs, lane=lane), (self.image_model.pk, *self.routed.routing.fallback_models)
        return any(registry.is_served(self.mode, name, needs) for name in names)

    def is_shut(self, lane: str) -> bool:
        """Whether there would be a road in a lane, if no channel were out of order."""
        return bool(registry.shut_channels(self.mode, self.image_model.pk, replace(self.needs, lane=lane)))

    def dearest(self, price: Price, quote: Callable[[Price], int]) -> int:
        """The most that the model or one of those that may stand in costs in the lane of a price."""
        found = [price]
        for image_model in catalog.named(self.routed.routing.fallback_models, at=self.at):
            size = catalog.size_made(image_model, self.image_size)
            other = catalog.price_of(image_model, size, at=self.at, lane=price.lane)
            found += [other] if other is not None else []
        return max(map(quote, found))


def settle(asked: Asked, wanted: Preferences, *, is_batch: bool, quote: Callable[[Price], int]) -> Terms:
    """The terms of a request, or a refusal. `quote` says what a price makes of it.

    What comes in a batch of its own takes the lane of batches where there is one, and is made one by one at the usual
    price where there is none.
    """
    if asked.kept.is_hit:
        price = catalog.required_price(asked.image_model, asked.image_size, at=asked.at)
        return Terms("standard", price, price.cached_micros, "cache: the same was made before")
    terms = _of_batch(asked, wanted, quote) if is_batch else _of_request(asked, wanted, quote)
    if asked.needs.is_own_only:
        terms = replace(terms, quote_micros=terms.price.own_key_micros)
    if wanted.routing.hedge_after_seconds is not None:
        terms = replace(terms, quote_micros=terms.quote_micros + _of_hedge(terms))
    most = wanted.routing.max_price_micros
    if most is not None and terms.quote_micros > most:
        raise Refusal(
            "invalid",
            "price_above_maximum",
            f"One image may cost up to {usd(terms.quote_micros)}, more than the {usd(most)} of max_price_usd.",
            param="routing.max_price_usd",
        )
    return terms


def _of_hedge(terms: Terms) -> int:
    """What a second call beside a slow one adds; what has no price is not offered."""
    if terms.price.hedge_micros is None or terms.lane != "standard":
        message = "A second call beside a slow one has no price here for this model, size and lane."
        raise invalid("routing.hedge_after_seconds", message, "price_not_set")
    return terms.price.hedge_micros


def _of_batch(asked: Asked, wanted: Preferences, quote: Callable[[Price], int]) -> Terms:
    price = asked.price("batch") if asked.is_served("batch") else None
    if price is None:
        price = catalog.required_price(asked.image_model, asked.image_size, at=asked.at)
    return Terms("batch", price, asked.dearest(price, quote), "", _deadline(wanted, "batch"))


def _of_request(asked: Asked, wanted: Preferences, quote: Callable[[Price], int]) -> Terms:
    lane = wanted.lane or "standard"
    if lane == "auto":
        return _cheapest(asked, wanted, quote)
    if lane == "standard":
        # A missing price has a refusal of its own, which says more.
        catalog.required_price(asked.image_model, asked.image_size, at=asked.at)
    found, is_served = asked.price(lane), asked.is_served(lane)
    if found is not None and not is_served and asked.is_shut(lane):
        raise out_of_service()
    if found is None or not is_served:
        message = f"{asked.image_model.name} is not made in the lane {lane} here."
        raise invalid("lane", message, "lane_not_available")
    if lane == "standard":
        return Terms(lane, found, asked.dearest(found, quote), "standard: the lane that waits for nothing")
    return Terms(lane, found, _held(asked, wanted, found, quote), _told(lane, wanted), _deadline(wanted, lane))


def _held(asked: Asked, wanted: Preferences, price: Price, quote: Callable[[Price], int]) -> int:
    """What may run on at the usual price has that price held."""
    usual = asked.price("standard") if wanted.is_run_on else None
    held = asked.dearest(price, quote)
    return max(held, asked.dearest(usual, quote)) if usual else held


def _told(lane: str, wanted: Preferences) -> str:
    after = "; after that at once, at the usual price" if wanted.is_run_on else ""
    return f"{lane}: as asked for, {_TAKES[lane]}{after}"


def _deadline(wanted: Preferences, lane: str) -> timedelta:
    return timedelta(seconds=wanted.deadline_seconds or LANE_SECONDS[lane])


def _cheapest(asked: Asked, wanted: Preferences, quote: Callable[[Price], int]) -> Terms:
    seconds = wanted.deadline_seconds or _DEFAULT_DEADLINE_SECONDS
    catalog.required_price(asked.image_model, asked.image_size, at=asked.at)
    options = []
    for lane, takes in LANE_SECONDS.items():
        price = asked.price(lane)
        if takes <= seconds and price is not None and asked.is_served(lane):
            deadline = timedelta(seconds=seconds) if takes else None
            options.append(Terms(lane, price, asked.dearest(price, quote), "", deadline))
    if not options:
        message = f"{asked.image_model.name} cannot be made within {seconds} seconds here."
        raise invalid("deadline_seconds", message, "lane_not_available")
    # Of two that cost the same, the quicker one stands first.
    best = min(options, key=lambda each: each.quote_micros)
    return Terms(best.lane, best.price, best.quote_micros, _why(best, options, seconds), best.deadline)


def _why(best: Terms, options: list[Terms], seconds: int) -> str:
    if len(options) == 1:
        return f"{best.lane}: no other lane is done within {seconds} seconds"
    others = ", ".join(f"{usd(each.quote_micros)} in {each.lane}" for each in options if each is not best)
    return f"{best.lane}: {usd(best.quote_micros)} an image instead of {others}, done {_TAKES[best.lane]}"
