"""An image that came is stored, and its output owns it: the first durable result wins, whoever holds the lease."""

from __future__ import annotations

import dataclasses
import logging
import time
from datetime import datetime

from django.db import OperationalError

from accounts import crash_points
from accounts.transactions import write_transaction
from generation import decoding, media, settlement
from generation.contract import Answer, Source
from generation.execution.calls import pack_parts
from generation.models import Attempt, Media, Output, State

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


def close_attempt(attempt: Attempt, *, now: datetime, **fields: object) -> None:
    """Write how an attempt ended."""
    latency = max(0, int((now - attempt.started_at).total_seconds() * 1000))
    Attempt.objects.filter(pk=attempt.pk).update(finished_at=now, latency_ms=latency, **fields)


def receive(attempt: Attempt, answer: Answer, known: dict[str, object], *, now: datetime) -> bool:
    """Verify and store the image and give it to its output. False: another one was first.

    Raises decoding.Undecodable for broken bytes and OSError for a disk that takes none.
    """
    assert answer.image is not None
    decoded = decoding.verify_output(answer.image.path)
    name = media.output_name(attempt.output_id, answer.image.sha256, decoded.mime_type)
    media.store(name, answer.image.path)
    crash_points.reached("keep.stored")
    stored = Media(
        output_id=attempt.output_id,
        attempt=attempt,
        storage_name=name,
        mime_type=decoded.mime_type,
        width=decoded.width,
        height=decoded.height,
        byte_count=decoded.byte_count,
        sha256=answer.image.sha256,
        created_at=now,
    )
    is_first = _own_patiently(attempt, answer, stored, known, now)
    crash_points.reached("keep.received")
    if not is_first and not Media.objects.filter(storage_name=name).exists():
        media.remove(name)
    return is_first


def _own_patiently(attempt: Attempt, answer: Answer, stored: Media, known: dict[str, object], now: datetime) -> bool:
    for pause in _RETRY_SECONDS:
        try:
            return _own(attempt, answer, stored, known, now)
        except OperationalError as error:
            logger.warning("the database does not take the image of %s yet: %s", attempt.output_id, error)
            time.sleep(pause)
    return _own(attempt, answer, stored, known, now)


def _own(attempt: Attempt, answer: Answer, stored: Media, known: dict[str, object], now: datetime) -> bool:
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
                lease_until=None,
            )
        )
        close_attempt(attempt, now=now, status=Attempt.Status.OK, error_kind="", is_delivered=is_first, **known)
        if is_first:
            stored.save(force_insert=True)
    return is_first
