"""How an output ends: state, image, charge and money in one transaction. Also cancel.

Whoever wins the compare-and-set on the output's state settles it; everybody else walks away quietly. Images that come
together are settled together.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import connection, transaction

from accounts import crash_points
from accounts.ledger import operations
from accounts.ledger.models import Entry
from accounts.row_updates import update_each
from accounts.transactions import repeatable, require_transaction, write_transaction
from generation import catalog, decoding, pricing, wakeups
from generation.contract import Usage
from generation.models import LIVE_STATES, Attempt, Charge, Generation, Media, Output, Price, State

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

    @property
    def row(self) -> Output:
        return self.delivery.media.output


def succeed(output_id: uuid.UUID, *, now: datetime) -> bool:
    """Deliver and charge an output whose image is stored and its own. False if it had ended before."""
    rows = Media.objects.select_related("output__generation__price__image_model", "attempt")
    media = rows.get(output_id=output_id)
    return deliver([Delivery(media, Usage(**(media.attempt.usage or {})), now)])[0]


@repeatable
def deliver(deliveries: Sequence[Delivery]) -> list[bool]:
    """Deliver and charge in one transaction; for each, whether it was the first to end its output.

    The attempt that brought an image too late is closed all the same. One whose commit was not heard of is done
    again, and finds that it was first.
    """
    sales = {each.media.output_id: _sale(each) for each in deliveries}
    with write_transaction():
        live = _lock(deliveries)
        known = _delivered_before(deliveries, live)
        _close_attempts([each for each in deliveries if each.media.attempt_id not in known], live)
        won = [sales[output_id] for output_id in live]
        entries = _take(won, now=deliveries[0].at)
        _end_outputs(won)
        _keep_images(won)
        Charge.objects.bulk_create(_charge(each, entries.get(each.row.pk)) for each in won)
        changes = [_Change(each.row.generation_id, succeeded=1, price_micros=each.price_micros) for each in won]
        _finish(changes, now=deliveries[0].at)
        crash_points.reached("settle.settling")
    crash_points.reached("settle.settled")
    return [each.media.output_id in live or each.media.attempt_id in known for each in deliveries]


def _sale(delivery: Delivery) -> _Sale:
    """By what came: the delivered size, the measured usage, never above the quote."""
    media, generation = delivery.media, delivery.media.output.generation
    price = catalog.delivered_price(
        generation.price, decoding.size_class(media.width, media.height), at=generation.created_at
    )
    price_micros = pricing.price(
        catalog.sale_rates(price),
        reference_count=generation.input_image_count,
        usage=delivery.usage,
        quote_micros=media.output.quote_micros,
    )
    return _Sale(delivery, price, price_micros)


def _lock(deliveries: Sequence[Delivery]) -> list[uuid.UUID]:
    """Lock the outputs; those whose image this is to be, in order of id."""
    wanted = {each.media.output_id: each for each in deliveries}
    rows = Output.objects.select_for_update(no_key=True).filter(pk__in=wanted).order_by("pk")
    found = []
    for pk, state in rows.values_list("pk", "state"):
        wanted[pk].media.output.state = state
        if wanted[pk].is_deliverable:
            found.append(pk)
    return found


def _delivered_before(deliveries: Sequence[Delivery], live: Sequence[uuid.UUID]) -> set[int]:
    """Attempts whose image is their output's already."""
    asked = [each.media.attempt_id for each in deliveries if each.is_new and each.media.output_id not in live]
    return set(Media.objects.filter(attempt_id__in=asked).values_list("attempt_id", flat=True)) if asked else set()


def _close_attempts(deliveries: Sequence[Delivery], live: Sequence[uuid.UUID]) -> None:
    rows = [
        (each.media.attempt_id, {**each.attempt, "is_delivered": each.media.output_id in live})
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
    Media.objects.bulk_create(images)


def _charge(sale: _Sale, entry: Entry | None) -> Charge:
    """What the money was taken for."""
    output, media = sale.row, sale.delivery.media
    generation = output.generation
    return Charge(
        output=output,
        account_id=output.account_id,
        api_key_id=output.api_key_id,
        mode=output.mode,
        image_model_id=generation.image_model_id,
        channel_id=media.attempt.channel_id,
        price=sale.price,
        entry=entry if sale.price_micros else None,
        image_size=sale.price.image_size,
        reference_count=generation.input_image_count,
        quote_micros=output.quote_micros,
        price_micros=sale.price_micros,
        cost_micros=sale.delivery.attempt.get("cost_micros", media.attempt.cost_micros),
        media_sha256=media.sha256,
        created_at=sale.delivery.at,
    )


def fail(
    output_id: uuid.UUID,
    *,
    code: str,
    message: str,
    now: datetime,
    states: tuple[State, ...] = BEFORE_RECEIVED,
    lease_number: int | None = None,
) -> bool:
    """End an output in a named failure that costs nothing, inside the caller's transaction.

    False if it had ended or moved on before.
    """
    require_transaction()
    return _end(output_id, State.FAILED, code, message, now=now, states=states, lease_number=lease_number)


def cancel(generation: Generation, *, now: datetime) -> None:
    """End what has not been sent; what is out with a channel still settles as it comes back.

    The wish is written first, so that an output on its way back to the queue meets it there. Each output ends in a
    transaction of its own: workers hold an output and wait for its generation, never the other way round.
    """
    live = Output.objects.filter(generation=generation, state__in=LIVE_STATES)
    live.update(is_cancel_requested=True)
    for output_id in list(live.order_by("pk").values_list("pk", flat=True)):
        _cancel_alone(output_id, now)


@repeatable
def _cancel_alone(output_id: uuid.UUID, now: datetime) -> None:
    with write_transaction():
        cancel_output(output_id, now=now)


def cancel_output(output_id: uuid.UUID, *, now: datetime) -> bool:
    """Cancel one output that is not out with a channel, inside the caller's transaction."""
    require_transaction()
    return _end(
        output_id,
        State.CANCELED,
        "canceled",
        "Canceled. Nothing was charged.",
        now=now,
        states=(State.QUEUED, State.LEASED),
    )


def _end(
    output_id: uuid.UUID,
    state: State,
    code: str,
    message: str,
    *,
    now: datetime,
    states: tuple[State, ...],
    lease_number: int | None = None,
) -> bool:
    rows = Output.objects.filter(pk=output_id, state__in=states)
    if lease_number is not None:
        rows = rows.filter(lease_number=lease_number)
    ended = rows.update(state=state, error_code=code, error_message=message[:500], finished_at=now, lease_until=None)
    if not ended:
        return False
    output = Output.objects.only("generation_id", "quote_micros").get(pk=output_id)
    if output.quote_micros:
        operations.release(output_id=output_id, now=now)
    _finish([_Change(output.generation_id, failed=int(state == State.FAILED))], now=now)
    return True


@dataclass(frozen=True, slots=True)
class _Change:
    """One output of a generation has ended."""

    generation_id: uuid.UUID
    succeeded: int = 0
    failed: int = 0
    price_micros: int = 0


_COUNT = """
UPDATE generation_generation
SET open_count = open_count - %(ended)s, succeeded_count = succeeded_count + %(succeeded)s,
    failed_count = failed_count + %(failed)s, price_micros = price_micros + %(price_micros)s,
    finished_at = CASE WHEN open_count = %(ended)s THEN %(now)s ELSE finished_at END,
    status = CASE WHEN open_count <> %(ended)s THEN status WHEN succeeded_count + %(succeeded)s > 0 THEN 'succeeded'
             WHEN failed_count + %(failed)s > 0 THEN 'failed' ELSE 'canceled' END
WHERE id = %(id)s
"""


def _finish(changes: Sequence[_Change], *, now: datetime) -> None:
    """Count ended outputs; the last one of a generation ends it and rings. Generations in order: nobody deadlocks."""
    if not changes:
        return
    by_generation: dict[uuid.UUID, list[_Change]] = defaultdict(list)
    for change in changes:
        by_generation[change.generation_id].append(change)
    clock, key = Generation._meta.get_field("finished_at"), Generation._meta.get_field("id")
    values = [
        {
            "ended": len(own),
            "succeeded": sum(each.succeeded for each in own),
            "failed": sum(each.failed for each in own),
            "price_micros": sum(each.price_micros for each in own),
            "now": clock.get_db_prep_save(now, connection),
            "id": key.get_db_prep_save(generation_id, connection),
        }
        for generation_id, own in sorted(by_generation.items())
    ]
    with connection.cursor() as cursor:
        cursor.executemany(_COUNT, values)
    ended = Generation.objects.filter(pk__in=by_generation, open_count=0).values_list("pk", flat=True)
    rung = [str(pk) for pk in ended]
    # Whatever becomes of the ring, the settlement is committed and must not look as if it had failed.
    transaction.on_commit(lambda: wakeups.ring_many(rung), robust=True)
