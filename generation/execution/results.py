"""What the end of a call does to its attempt and its output: received, failed for free, or queued again."""

from __future__ import annotations

import dataclasses
import random
import uuid
from datetime import datetime

from django.conf import settings
from django.db.models.functions import Now

from accounts.transactions import write_transaction
from generation import catalog, decoding, media, pricing, settlement
from generation.channels import health, routing
from generation.contract import Answer, ChannelError, SpooledImage, Usage
from generation.execution.calls import pack_parts
from generation.execution.leases import Lease, requeue
from generation.models import Attempt, Generation, Media, Output, State

REFUSED = ("content_refused", "The model refused this prompt or its picture ({reason}). Nothing was charged.")
NO_IMAGE = ("no_image", "The model answered without an image ({reason}). Nothing was charged.")


def _close_attempt(attempt: Attempt, *, now: datetime, **fields: object) -> None:
    Attempt.objects.filter(pk=attempt.pk).update(
        finished_at=now, latency_ms=int((now - attempt.started_at).total_seconds() * 1000), **fields
    )


def _estimated_cost(attempt: Attempt, generation: Generation, usage: Usage, *, has_image: bool) -> int:
    rates = catalog.cost_of(attempt.channel.kind, generation.image_model, at=attempt.started_at, lane=generation.lane)
    return pricing.cost(rates, usage=usage, image_size=generation.image_size, has_image=has_image)


def answered(lease: Lease, attempt: Attempt, answer: Answer, *, now: datetime) -> None:
    """A complete answer came: an image is received and settled, a refusal or an empty answer ends for free."""
    generation = attempt.output.generation
    health.note_success(str(attempt.channel_id), now=now)
    cost = _estimated_cost(attempt, generation, answer.usage, has_image=answer.image is not None)
    known = {
        "usage": dataclasses.asdict(answer.usage),
        "cost_micros": cost,
        "finish_reason": answer.finish_reason[:40],
        "upstream_request_id": answer.upstream_request_id[:120],
    }
    if answer.image is None:
        _close_attempt(attempt, now=now, status=Attempt.Status.OK, **known)
        code, message = REFUSED if answer.finish == "refused" else NO_IMAGE
        reason = answer.finish_reason or "no reason given"
        settlement.fail(lease.output_id, code=code, message=message.format(reason=reason), now=now)
        return
    try:
        if _receive(attempt, answer, answer.image, known, now=now):
            settlement.succeed(lease.output_id, now=now)
    except (decoding.Undecodable, OSError) as error:
        # Broken bytes, or a disk that takes none: there is no image, and the upstream has perhaps billed one.
        broken = ChannelError("unknown", f"the image could not be kept: {error}")
        Attempt.objects.filter(pk=attempt.pk).update(**known)
        errored(lease, attempt, broken, now=now)


def _receive(attempt: Attempt, answer: Answer, image: SpooledImage, known: dict[str, object], *, now: datetime) -> bool:
    """Store the image, then let the output own it. The first durable result wins, whoever holds the lease."""
    decoded = decoding.verify_output(image.path)
    name = media.output_name(attempt.output_id, image.sha256, decoded.mime_type)
    media.store(name, image.path)
    with write_transaction():
        is_first = bool(
            Output.objects.filter(pk=attempt.output_id, state__in=settlement.BEFORE_RECEIVED).update(
                state=State.RECEIVED,
                text=answer.text,
                sources=[dataclasses.asdict(each) for each in answer.sources],
                search_suggestions=answer.search_suggestions,
                usage=known["usage"],
                parts=pack_parts(answer.parts),
                parts_channel_id=attempt.channel_id,
                parts_upstream_model=attempt.upstream_model,
            )
        )
        _close_attempt(attempt, now=now, status=Attempt.Status.OK, error_kind="", is_delivered=is_first, **known)
        if is_first:
            Media.objects.create(
                output_id=attempt.output_id,
                attempt=attempt,
                storage_name=name,
                mime_type=decoded.mime_type,
                width=decoded.width,
                height=decoded.height,
                byte_count=decoded.byte_count,
                sha256=image.sha256,
                created_at=now,
            )
    return is_first


def errored(lease: Lease, attempt: Attempt, error: ChannelError, *, now: datetime) -> None:
    """No image came. An answered error is free and tried again; no answer is perhaps billed, and the house pays."""
    is_unknown = error.kind == "unknown"
    generation = attempt.output.generation
    fields: dict[str, object] = {
        "status": Attempt.Status.UNKNOWN if is_unknown else Attempt.Status.ERROR,
        "error_kind": error.kind,
        "upstream_status": error.status,
        "upstream_message": error.message[:500],
    }
    if is_unknown:
        fields["cost_micros"] = _estimated_cost(attempt, generation, Usage(), has_image=True)
    if error.upstream_request_id:
        fields["upstream_request_id"] = error.upstream_request_id[:120]
    _close_attempt(attempt, now=now, **fields)
    health.note_error(str(attempt.channel_id), error, now=now)
    if error.kind == "rejected":
        settlement.fail(
            lease.output_id,
            code="upstream_rejected",
            now=now,
            lease_number=lease.number,
            message="The provider does not accept this request. Nothing was charged.",
        )
        return
    _again(lease, attempt, error, now=now)


def _again(lease: Lease, attempt: Attempt, error: ChannelError, *, now: datetime) -> None:
    """Queue the output again, or end it: canceled if that was asked, failed after too many unknowns."""
    if Output.objects.filter(pk=lease.output_id, is_cancel_requested=True).exists():
        cancel_returned(lease, now=now)
        return
    if error.kind == "unknown" and fail_after_unknowns(lease.output_id, lease_number=lease.number, now=now):
        return
    is_road_shut = error.kind == "unauthorized"
    error_count = (
        Attempt.objects.filter(output_id=lease.output_id, channel_id=attempt.channel_id)
        .exclude(status=Attempt.Status.OK)
        .count()
    )
    delay = (
        0.0
        if is_road_shut
        else routing.backoff_seconds(
            error_count,
            retry_after=error.retry_after_seconds,
            base_seconds=settings.NBP_RETRY_BASE_SECONDS,
            chance=random.random(),
        )
    )
    requeue(lease, seconds=delay)


def fail_after_unknowns(output_id: uuid.UUID, *, lease_number: int, now: datetime) -> bool:
    """End an output whose calls went unanswered too often. False while it may be tried again."""
    unknown_count = Attempt.objects.filter(output_id=output_id, status=Attempt.Status.UNKNOWN).count()
    if unknown_count < routing.MAX_UNKNOWNS:
        return False
    return settlement.fail(
        output_id,
        code="upstream_no_answer",
        now=now,
        lease_number=lease_number,
        message="The provider did not answer completely, several times. Nothing was charged.",
    )


def cancel_returned(lease: Lease, *, now: datetime) -> None:
    """A cancellation that came while the call was out takes effect now that the call brought nothing."""
    with write_transaction():
        back = Output.objects.filter(pk=lease.output_id, state=State.SENT, lease_number=lease.number).update(
            state=State.QUEUED, next_run_at=Now()
        )
        if back:
            settlement.cancel_output(lease.output_id, now=now)
