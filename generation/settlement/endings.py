"""Ends that cost nothing: failures with a name, and cancellations."""

from __future__ import annotations

import uuid
from datetime import datetime
from functools import partial

from django.db import transaction

from accounts.ledger import operations
from accounts.transactions import repeatable, require_transaction, write_transaction
from generation import measurements
from generation.models import LIVE_STATES, Generation, Output, State
from generation.settlement.counts import Change, finish
from generation.settlement.deliveries import BEFORE_RECEIVED


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
    for output_id in _ask_to_cancel(generation):
        _cancel_alone(output_id, now)


@repeatable
def _ask_to_cancel(generation: Generation) -> list[uuid.UUID]:
    """Write the wish to every output that has not ended; those. Locked in order: two who cancel do not deadlock."""
    rows = Output.objects.filter(generation=generation, state__in=LIVE_STATES)
    with write_transaction():
        live = list(rows.select_for_update(no_key=True).order_by("pk").values_list("pk", flat=True))
        Output.objects.filter(pk__in=live).update(is_cancel_requested=True)
    return live


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
    output = Output.objects.only("generation_id", "quote_micros", "mode").get(pk=output_id)
    ended_as = partial(
        measurements.output_ended,
        output_id=output_id,
        generation_id=output.generation_id,
        mode=output.mode,
        state=state.value,
        code=code,
    )
    transaction.on_commit(ended_as, robust=True)
    if output.quote_micros:
        operations.release(output_id=output_id, now=now)
    finish([Change(output.generation_id, failed=int(state == State.FAILED))], now=now)
    return True
