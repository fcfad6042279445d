"""How an output ends: state, image, charge and money in one transaction. Also cancel.

Whoever wins the compare-and-set on the output's state settles it; everybody else walks away quietly.
"""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import F

from accounts import crash_points
from accounts.ledger import operations
from accounts.transactions import require_transaction, write_transaction
from generation import catalog, decoding, pricing, wakeups
from generation.contract import Usage
from generation.models import LIVE_STATES, Charge, Generation, Media, Output, Price, State

BEFORE_RECEIVED = (State.QUEUED, State.LEASED, State.SENT)


def succeed(output_id: uuid.UUID, *, now: datetime) -> bool:
    """Deliver and charge an output whose image is stored. False if it had ended before."""
    media = Media.objects.select_related("output__generation__price__image_model", "attempt").get(output_id=output_id)
    output, generation = media.output, media.output.generation
    delivered_size = decoding.size_class(media.width, media.height)
    price = catalog.delivered_price(generation.price, delivered_size, at=generation.created_at)
    price_micros = pricing.price(
        catalog.sale_rates(price),
        reference_count=generation.input_image_count,
        usage=Usage(**(media.attempt.usage or {})),
        quote_micros=output.quote_micros,
    )
    with write_transaction():
        won = Output.objects.filter(pk=output_id, state=State.RECEIVED).update(
            state=State.SUCCEEDED, price_micros=price_micros, finished_at=now, lease_until=None
        )
        if not won:
            return False
        counts = {"succeeded_count": F("succeeded_count") + 1, "price_micros": F("price_micros") + price_micros}
        _finish(generation.pk, now=now, **counts)
        _charge(media, price, price_micros, now)
        crash_points.reached("settle.settling")
    crash_points.reached("settle.settled")
    return True


def _charge(media: Media, price: Price, price_micros: int, now: datetime) -> None:
    """Take the money and write down what for, in the caller's transaction."""
    output, generation = media.output, media.output.generation
    Charge.objects.create(
        output=output,
        account_id=output.account_id,
        api_key_id=output.api_key_id,
        mode=output.mode,
        image_model_id=generation.image_model_id,
        channel_id=media.attempt.channel_id,
        price=price,
        entry=_take(output, price_micros, now),
        image_size=price.image_size,
        reference_count=generation.input_image_count,
        quote_micros=output.quote_micros,
        price_micros=price_micros,
        cost_micros=media.attempt.cost_micros,
        media_sha256=media.sha256,
        created_at=now,
    )


def _take(output: Output, price_micros: int, now: datetime) -> Any:
    """Capture the price, or give everything back if it came out free. A quote of 0 made no hold."""
    if not output.quote_micros:
        return None
    if not price_micros:
        operations.release(output_id=output.pk, now=now)
        return None
    return operations.capture(output_id=output.pk, amount_micros=price_micros, now=now)


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
    counted = {"failed_count": F("failed_count") + 1} if state == State.FAILED else {}
    _finish(output.generation_id, now=now, **counted)
    if output.quote_micros:
        operations.release(output_id=output_id, now=now)
    return True


def _finish(generation_id: uuid.UUID, *, now: datetime, **counts: Any) -> None:
    """Count one output of a generation as ended; the last one ends the generation and rings."""
    Generation.objects.filter(pk=generation_id).update(open_count=F("open_count") - 1, **counts)
    generation = Generation.objects.only("open_count", "succeeded_count", "failed_count").get(pk=generation_id)
    if generation.open_count:
        return
    status = Generation.Status.CANCELED
    if generation.failed_count:
        status = Generation.Status.FAILED
    if generation.succeeded_count:
        status = Generation.Status.SUCCEEDED
    Generation.objects.filter(pk=generation_id).update(status=status, finished_at=now)
    transaction.on_commit(lambda: wakeups.ring(str(generation_id)))
