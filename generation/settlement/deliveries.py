"""Images on their way to become their outputs': delivered and charged in one transaction, several together."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from accounts import crash_points
from accounts.compiled import CompiledSelect
from accounts.ledger import operations
from accounts.ledger.models import Entry
from accounts.row_writes import insert_each, update_each
from accounts.transactions import repeatable, write_transaction
from generation import catalog, decoding, measurements, pricing
from generation.channels.seed import CACHE, HOUSE
from generation.contract import Usage
from generation.models import Attempt, Charge, Media, Output, Price, State
from generation.settlement.counts import Change, finish, measure_attempt

_outputs = CompiledSelect(
    lambda ids: (
        Output.objects.select_for_update(no_key=True).filter(pk__in=ids).order_by("pk").values_list("pk", "state")
    )
)
BEFORE_RECEIVED = (State.QUEUED, State.LEASED, State.SENT)


@dataclass(frozen=True, slots=True)
class Delivery:
    """A stored image on its way to become its output's.

    `media` has its output (with generation and price) and its attempt loaded. Of an image that is the output's
    already, cut off before it was settled, `media` is a row; else `attempt` and `output` are what to write about the
    answer that brought it.
    """

    media: Media
    usage: Usage
    at: datetime
    attempt: Mapping[str, Any] = field(default_factory=dict)
    output: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_new(self) -> bool:
        return bool(self.attempt)

    @property
    def is_deliverable(self) -> bool:
        state = State(self.media.output.state)
        return state in BEFORE_RECEIVED if self.is_new else state == State.RECEIVED


@dataclass(frozen=True, slots=True)
class _Sale:
    """What a delivery is sold for."""

    delivery: Delivery
    price: Price
    price_micros: int
    # The charge of the stored image that answers a request.
    stored: Charge | None = None

    @property
    def row(self) -> Output:
        return self.delivery.media.output


def succeed(output_id: uuid.UUID, *, now: datetime) -> bool:
    """Deliver and charge an output whose image is stored and its own. False if it had ended before."""
    rows = Media.objects.select_related(
        "output__generation__price__image_model", "attempt__channel", "attempt__image_model"
    )
    media = rows.get(output_id=output_id)
    return deliver([Delivery(media, Usage(**(media.attempt.usage or {})), now)])[0]


@repeatable
def deliver(deliveries: Sequence[Delivery]) -> list[bool]:
    """Deliver and charge in one transaction; for each, whether it was the first to end its output.

    The attempt that brought an image too late is closed all the same. One whose commit was not heard of is done
    again, and finds that it was first.
    """
    sales = {each.media.attempt_id: _sale(each) for each in deliveries}
    with write_transaction():
        winners = _lock(deliveries)
        known = _delivered_before(deliveries, winners)
        _close_attempts([each for each in deliveries if each.media.attempt_id not in known], winners)
        won = [sales[attempt_id] for attempt_id in winners]
        entries = _take(won, now=deliveries[0].at)
        _end_outputs(won)
        _keep_images(won)
        insert_each(_charge(each, entries.get(each.row.pk)) for each in won)
        changes = [Change(each.row.generation_id, succeeded=1, price_micros=each.price_micros) for each in won]
        finish(changes, now=deliveries[0].at)
        crash_points.reached("settle.settling")
    crash_points.reached("settle.settled")
    _measure(won)
    return [each.media.attempt_id in known.union(winners) for each in deliveries]


def _sale(delivery: Delivery) -> _Sale:
    """By what came: the delivered size, the measured usage, never above the quote."""
    media, generation = delivery.media, delivery.media.output.generation
    channel = media.attempt.channel
    if channel.kind in HOUSE or channel.account_id is not None:
        return _Sale(delivery, generation.price, _flat_price(media), _stored(media))
    price = catalog.delivered_price(
        generation.price,
        decoding.size_class(media.width, media.height),
        at=generation.created_at,
        image_model=media.attempt.image_model,
        lane=media.attempt.lane,
    )
    price_micros = pricing.price(
        catalog.sale_rates(price),
        reference_count=generation.input_image_count,
        usage=delivery.usage,
        quote_micros=media.output.quote_micros,
    )
    if generation.routing.get("hedge_after_seconds") is not None and _was_hedged(media):
        price_micros = min(price_micros + (generation.price.hedge_micros or 0), media.output.quote_micros)
    return _Sale(delivery, price, price_micros)


def _was_hedged(media: Media) -> bool:
    return Attempt.objects.filter(output=media.output_id, is_hedge=True).exists()


def _flat_price(media: Media) -> int:
    """What the price book says of an image that was made before, or with the account's own key.

    A picture that no model made costs nothing.
    """
    price, channel = media.output.generation.price, media.attempt.channel
    if channel.account_id is not None:
        return min(price.own_key_micros, media.output.quote_micros)
    return min(price.cached_micros if channel.kind == CACHE else 0, media.output.quote_micros)


def _stored(media: Media) -> Charge | None:
    """The charge of what this is a copy of, where the cache answered. What stands in for an image saves nothing."""
    output = media.output
    if media.attempt.channel.kind != CACHE or output.generation.routing.get("cache") != Charge.Cache.HIT:
        return None
    return Charge.objects.filter(output=output.source_id).first()


def _lock(deliveries: Sequence[Delivery]) -> list[int]:
    """Lock the outputs; the attempts whose images these are to be, in order of output.

    Of two images that come for one output at the same time, the first is taken.
    """
    first: dict[uuid.UUID, Delivery] = {}
    for each in deliveries:
        first.setdefault(each.media.output_id, each)
    found = []
    for pk, state in _outputs(list(first)):
        first[pk].media.output.state = state
        if first[pk].is_deliverable:
            found.append(first[pk].media.attempt_id)
    return found


def _delivered_before(deliveries: Sequence[Delivery], winners: Sequence[int]) -> set[int]:
    """Attempts whose image is their output's already."""
    asked = [each.media.attempt_id for each in deliveries if each.is_new and each.media.attempt_id not in winners]
    return set(Media.objects.filter(attempt_id__in=asked).values_list("attempt_id", flat=True)) if asked else set()


def _close_attempts(deliveries: Sequence[Delivery], winners: Sequence[int]) -> None:
    rows = [
        (each.media.attempt_id, {**each.attempt, "is_delivered": each.media.attempt_id in winners})
        for each in deliveries
        if each.is_new
    ]
    update_each(Attempt, rows)


def _take(sales: Sequence[_Sale], *, now: datetime) -> dict[uuid.UUID, Entry]:
    """Capture the prices and give the rest back. A quote of 0 made no hold; a price of 0 gives all of it back."""
    return operations.settle({each.row.pk: each.price_micros for each in sales if each.row.quote_micros}, now=now)


def _end_outputs(sales: Sequence[_Sale]) -> None:
    """The images' words and the ends of their outputs; rows of one shape are written together."""
    by_shape: dict[bool, list[tuple[uuid.UUID, dict[str, Any]]]] = defaultdict(list)
    for each in sales:
        ends = {"state": State.SUCCEEDED, "price_micros": each.price_micros, "finished_at": each.delivery.at}
        row = {**each.delivery.output, **ends, "lease_until": None}
        by_shape[each.delivery.is_new].append((each.row.pk, row))
    for rows in by_shape.values():
        update_each(Output, rows)


def _keep_images(sales: Sequence[_Sale]) -> None:
    images = [each.delivery.media for each in sales if each.delivery.is_new]
    for image in images:
        # A number given in a transaction that was undone may be somebody else's by now.
        image.pk = None
    insert_each(images)


def _charge(sale: _Sale, entry: Entry | None) -> Charge:
    """What the money was taken for."""
    output, media = sale.row, sale.delivery.media
    generation = output.generation
    return Charge(
        output=output,
        account_id=output.account_id,
        api_key_id=output.api_key_id,
        mode=output.mode,
        image_model_id=media.attempt.image_model_id or generation.image_model_id,
        channel_id=media.attempt.channel_id,
        price=sale.price,
        entry=entry if sale.price_micros else None,
        image_size=sale.price.image_size,
        reference_count=generation.input_image_count,
        quote_micros=output.quote_micros,
        price_micros=sale.price_micros,
        cost_micros=sale.delivery.attempt.get("cost_micros", media.attempt.cost_micros),
        media_sha256=media.sha256,
        **_cache(sale),
        created_at=sale.delivery.at,
    )


def _cache(sale: _Sale) -> dict[str, Any]:
    """What the cache had for this request, and what that saved."""
    stored = sale.stored
    if stored is not None:
        cache, price, cost = str(Charge.Cache.HIT), max(0, stored.price_micros - sale.price_micros), stored.cost_micros
    else:
        is_asked = bool(sale.row.generation.routing.get("cache"))
        cache, price, cost = str(Charge.Cache.MISS) if is_asked else "", 0, 0
    return {"cache": cache, "saved_price_micros": price, "saved_cost_micros": cost}


def _measure(sales: Sequence[_Sale]) -> None:
    for each in sales:
        attempt, output = each.delivery.media.attempt, each.row
        if each.delivery.is_new:
            measure_attempt(
                attempt, result="ok", now=each.delivery.at, cost_micros=each.delivery.attempt["cost_micros"]
            )
        measurements.output_delivered(
            output_id=output.pk,
            generation_id=output.generation_id,
            channel=attempt.channel.name,
            model=attempt.image_model_id or output.generation.image_model_id,
            mode=output.mode,
            size=each.price.image_size,
            price_micros=each.price_micros,
            **_cache(each),
        )
