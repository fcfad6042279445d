"""What the end of a call does to its attempt and its output: received, failed for free, or queued again.

Each end is one transaction, the output's row first and the attempt's after it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import random
import uuid
from datetime import datetime

from django.conf import settings
from django.db import DatabaseError

from accounts.transactions import repeatable, write_transaction
from generation import decoding, pricing, settlement
from generation.channels import health, registry, routing
from generation.contract import Answer, ChannelError, Usage
from generation.execution import house_roads, receiving
from generation.execution.calls import made_size
from generation.execution.leases import Lease, requeue
from generation.execution.roads import another_is_ready
from generation.models import Attempt, Generation, State

logger = logging.getLogger(__name__)
REFUSED = ("content_refused", "The model refused this prompt or its picture ({reason}). Nothing was charged.")
NO_IMAGE = ("no_image", "The model answered without an image ({reason}). Nothing was charged.")
_MAX_WAIT_SECONDS = 300.0


def cost_of(attempt: Attempt, generation: Generation, usage: Usage, *, has_image: bool) -> int:
    """What the provider bills for an attempt; without an answer, what an image of the size asked for costs."""
    image_model = attempt.image_model or generation.image_model
    rates = registry.cost_rates(
        attempt.channel, image_model, at=attempt.started_at, lane=attempt.lane or generation.price.lane
    )
    return pricing.cost(rates, usage=usage, image_size=made_size(generation, image_model), has_image=has_image)


def answered(lease: Lease, attempt: Attempt, answer: Answer, *, now: datetime) -> None:
    """A complete answer came: an image is received and settled, a refusal or an empty answer ends for free."""
    answer = receiving.cleaned(answer)
    generation = attempt.output.generation
    cost_micros = answer.cost_micros
    if cost_micros is None or attempt.channel.account_id is not None:
        cost_micros = cost_of(attempt, generation, answer.usage, has_image=answer.image is not None)
    known: dict[str, object] = {
        "usage": dataclasses.asdict(answer.usage),
        "cost_micros": cost_micros,
        "finish_reason": answer.finish_reason[:40],
        "upstream_request_id": answer.upstream_request_id[:120],
    }
    if answer.image is None:
        _end_without_image(lease, attempt, answer, known, now)
    else:
        _keep_image(lease, attempt, answer, known, now)


@repeatable
def _end_without_image(lease: Lease, attempt: Attempt, answer: Answer, known: dict[str, object], now: datetime) -> None:
    code, message = REFUSED if answer.finish == "refused" else NO_IMAGE
    reason = answer.finish_reason or "no reason given"
    with write_transaction():
        settlement.fail(lease.output_id, code=code, message=message.format(reason=reason), now=now)
        receiving.close_attempt(attempt, result=answer.finish, now=now, status=Attempt.Status.OK, **known)
    _note_success(attempt, now)


def _keep_image(lease: Lease, attempt: Attempt, answer: Answer, known: dict[str, object], now: datetime) -> None:
    try:
        is_first = receiving.receive(attempt, answer, known, now=now)
    except decoding.Undecodable as error:
        Attempt.objects.filter(pk=attempt.pk).update(**known)
        errored(lease, attempt, ChannelError("unknown", f"the image does not decode: {error}"), now=now)
        return
    except OSError as error:
        # A disk that takes no image is our fault, not the channel's; what was made is lost and perhaps billed.
        logger.exception("the image of output %s could not be stored", lease.output_id)
        end_attempt(lease, attempt, ChannelError("unknown", f"the image could not be stored: {error}"), now=now)
        return
    if not is_first:
        logger.info("output %s had ended before this image came", lease.output_id)
    _note_success(attempt, now)


def _note_success(attempt: Attempt, now: datetime) -> None:
    """The image is safe; a channel's record that cannot be written must not undo that."""
    with contextlib.suppress(DatabaseError):
        image_model = attempt.image_model_id or attempt.output.generation.image_model_id
        health.note_success(attempt.channel, image_model, started_at=attempt.started_at, now=now)


def errored(lease: Lease, attempt: Attempt, error: ChannelError, *, now: datetime, is_last: bool = True) -> None:
    """No image came. An answered error is free and tried again; no answer is perhaps billed, and the house pays."""
    image_model = attempt.image_model_id or attempt.output.generation.image_model_id
    health.note_error(str(attempt.channel_id), image_model, error, now=now)
    end_attempt(lease, attempt, error, now=now, is_last=is_last)


@repeatable
def end_attempt(lease: Lease, attempt: Attempt, error: ChannelError, *, now: datetime, is_last: bool = True) -> None:
    """Close an attempt that brought no image, and decide what becomes of its output, in one transaction.

    Where another call for the output is out beside it, the output waits for that one.
    """
    is_unknown = error.kind in ("unknown", "interrupted")
    fields: dict[str, object] = {
        "status": Attempt.Status.UNKNOWN if is_unknown else Attempt.Status.ERROR,
        "error_kind": error.kind,
        "upstream_status": error.status,
        "upstream_message": receiving.clean(error.message)[:500],
    }
    # An answered error is free, also where its worker was taken for dead before and the call for perhaps billed.
    fields["cost_micros"] = cost_of(attempt, attempt.output.generation, Usage(), has_image=True) if is_unknown else 0
    if error.upstream_request_id:
        fields["upstream_request_id"] = receiving.clean(error.upstream_request_id)[:120]
    with write_transaction():
        if is_last:
            _move_on(lease, attempt, error, now=now)
        receiving.close_attempt(attempt, result=error.kind, now=now, **fields)


def _move_on(lease: Lease, attempt: Attempt, error: ChannelError, *, now: datetime) -> None:
    if error.kind == "rejected":
        settlement.fail(
            lease.output_id,
            code="upstream_rejected",
            now=now,
            lease_number=lease.number,
            message="The provider does not accept this request. Nothing was charged.",
        )
        return
    if error.kind == "unknown" and fail_after_unknowns(lease, now=now):
        return
    requeue(lease, seconds=_delay(attempt, error, now), now=now)


def _delay(attempt: Attempt, error: ChannelError, now: datetime) -> float:
    """Seconds until the next try: none where another road is open, else by the upstream's word or a growing wait."""
    if error.kind in ("unauthorized", "interrupted"):
        return 0.0
    retry_after = min(error.retry_after_seconds or 0.0, _MAX_WAIT_SECONDS)
    if retry_after and another_is_ready(attempt, now=now):
        return 0.0
    earlier = Attempt.objects.filter(output_id=attempt.output_id, channel_id=attempt.channel_id)
    return routing.backoff_seconds(
        earlier.exclude(status=Attempt.Status.OK).count(),
        retry_after=retry_after,
        base_seconds=settings.NBP_RETRY_BASE_SECONDS,
        chance=random.random(),
    )


def fail_after_unknowns(lease: Lease, *, now: datetime) -> bool:
    """End an output whose calls went unanswered too often, the one that ends now included. Else False."""
    earlier = Attempt.objects.filter(output_id=lease.output_id, status=Attempt.Status.UNKNOWN, error_kind="unknown")
    if earlier.exclude(lease_number=lease.number).count() + 1 < routing.MAX_UNKNOWNS:
        return False
    if house_roads.has_last_resort(lease.output_id):
        return False
    return settlement.fail(
        lease.output_id,
        code="upstream_no_answer",
        now=now,
        lease_number=lease.number,
        message="The provider did not answer completely, several times. Nothing was charged.",
    )


@repeatable
def give_up(output_id: uuid.UUID, *, lease_number: int, now: datetime) -> None:
    """A fault of ours that would come again each time: end the output for free, if nothing was sent."""
    with write_transaction():
        settlement.fail(
            output_id,
            code="internal_error",
            message="This service could not run the request. Nothing was charged.",
            now=now,
            states=(State.QUEUED, State.LEASED),
            lease_number=lease_number,
        )
