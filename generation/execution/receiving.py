"""An image that came is stored, and its output owns it: the first durable result wins, whoever holds the lease."""

from __future__ import annotations

import dataclasses
import logging
import time
from datetime import datetime
from functools import partial

from django.db import OperationalError, transaction

from accounts import crash_points
from accounts.group_commit import GroupCommit
from accounts.transactions import repeatable, write_transaction
from generation import decoding, media, settlement
from generation.contract import Answer, Source
from generation.execution.calls import pack_parts
from generation.models import Attempt, Media, Output, State
from generation.settlement import Delivery

logger = logging.getLogger(__name__)
# A paid image is not thrown away because the database stumbles for a moment.
_RETRY_SECONDS = (0.2, 1.0, 3.0, 8.0)


def clean(text: str) -> str:
    """Text of a stranger's as a database takes it: no NUL characters, no halves of surrogate pairs."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")


def cleaned(answer: Answer) -> Answer:
    """An answer whose texts a database takes."""
    return dataclasses.replace(
        answer,
        finish_reason=clean(answer.finish_reason),
        text=clean(answer.text),
        parts=tuple(dataclasses.replace(each, text=clean(each.text)) for each in answer.parts),
        sources=tuple(Source(title=clean(each.title), url=clean(each.url)) for each in answer.sources),
        search_suggestions=clean(answer.search_suggestions),
        upstream_request_id=clean(answer.upstream_request_id),
    )


def ended(attempt: Attempt, *, now: datetime, **fields: object) -> dict[str, object]:
    """How an attempt ended, as fields of its row."""
    latency = max(0, int((now - attempt.started_at).total_seconds() * 1000))
    return {"finished_at": now, "latency_ms": latency, **fields}


def close_attempt(attempt: Attempt, *, result: str, now: datetime, **fields: object) -> None:
    """Write how an attempt ended, in the caller's transaction. `result` is a word for the operator's counts."""
    Attempt.objects.filter(pk=attempt.pk).update(**ended(attempt, now=now, **fields))
    cost = fields.get("cost_micros", 0)
    cost_micros = cost if isinstance(cost, int) else 0
    measure = partial(settlement.measure_attempt, attempt, result=result, now=now, cost_micros=cost_micros)
    transaction.on_commit(measure, robust=True)


def receive(attempt: Attempt, answer: Answer, known: dict[str, object], *, now: datetime) -> bool:
    """Verify and store the image, give it to its output and settle. False: another one was first.

    Raises decoding.Undecodable for broken bytes and OSError for a disk that takes none.
    """
    assert answer.image is not None
    decoded = decoding.verify_output(answer.image.path)
    name = media.output_name(attempt.output_id, answer.image.sha256, decoded.mime_type)
    media.store(name, answer.image.path)
    crash_points.reached("keep.stored")
    stored = Media(
        output=attempt.output,
        attempt=attempt,
        storage_name=name,
        mime_type=decoded.mime_type,
        width=decoded.width,
        height=decoded.height,
        byte_count=decoded.byte_count,
        sha256=answer.image.sha256,
        created_at=now,
    )
    delivery = Delivery(
        media=stored,
        usage=answer.usage,
        at=now,
        attempt=ended(attempt, now=now, status=Attempt.Status.OK, error_kind="", **known),
        output=_words(attempt, answer, known),
    )
    is_first = _deliver(delivery)
    if not is_first and not Media.objects.filter(storage_name=name).exists():
        media.remove(name)
    return is_first


def _words(attempt: Attempt, answer: Answer, known: dict[str, object]) -> dict[str, object]:
    """What an answer says beside its picture, as fields of the output's row."""
    return {
        "text": answer.text,
        "sources": [dataclasses.asdict(each) for each in answer.sources],
        "search_suggestions": answer.search_suggestions,
        "usage": known["usage"],
        "parts": pack_parts(answer.parts),
        "parts_channel_id": attempt.channel_id,
        "parts_upstream_model": attempt.upstream_model,
        "image_model": attempt.image_model_id,
    }


_DELIVERIES = GroupCommit(settlement.deliver)


def _deliver(delivery: Delivery) -> bool:
    """Image, charge and money at once; where that cannot be, the image first, so that a paid one is not lost."""
    for pause in (*_RETRY_SECONDS, None):
        try:
            return _DELIVERIES.do(delivery)
        except OperationalError as error:
            if pause is None:
                raise
            logger.warning("the database does not take the image of %s yet: %s", delivery.media.output_id, error)
            time.sleep(pause)
        except Exception:
            logger.exception("output %s could not be settled at once", delivery.media.output_id)
            break
    is_first = _own(delivery)
    crash_points.reached("keep.received")
    if is_first:
        settlement.succeed(delivery.media.output_id, now=delivery.at)
    return is_first


@repeatable
def _own(delivery: Delivery) -> bool:
    """The image is its output's, to be settled by and by."""
    stored = delivery.media
    rows = Output.objects.filter(pk=stored.output_id, state__in=settlement.BEFORE_RECEIVED)
    with write_transaction():
        if Media.objects.filter(attempt_id=stored.attempt_id).exists():
            # Done before, by a transaction whose commit was not heard of.
            return True
        is_first = bool(rows.update(**delivery.output, state=State.RECEIVED, lease_until=None))
        Attempt.objects.filter(pk=stored.attempt_id).update(**delivery.attempt, is_delivered=is_first)
        if is_first:
            stored.pk = None
            stored.save(force_insert=True)
    return is_first
