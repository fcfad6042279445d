"""Reads of generations and their images, each bound to one account and mode."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from django.db.models import Count, QuerySet

from accounts.authentication import Requester
from accounts.identifiers import parse_public_id
from generation.contract import Outcome, OutputOutcome, Refusal, Source, Usage
from generation.models import Attempt, Generation, Media, Output, State
from generation.queries.pages import Page


def find(requester: Requester, generation_id: str) -> uuid.UUID:
    """The generation behind a public id, if it is the requester's own in the same mode."""
    row_id = parse_public_id("gen", generation_id)
    if row_id is None or not _own(requester).filter(pk=row_id).exists():
        raise Refusal("not_found", "generation_not_found", "There is no generation of yours with that id.")
    return row_id


def generation_of(requester: Requester, output_id: str) -> str | None:
    """The public id of the generation one of the requester's own outputs belongs to."""
    row_id = parse_public_id("out", output_id)
    row = _own(requester).filter(outputs__in=filter(None, [row_id])).first()
    return row.public_id if row else None


def _own(requester: Requester) -> QuerySet[Generation]:
    return Generation.objects.filter(account=requester.account, mode=requester.mode)


def outcome(generation_id: uuid.UUID) -> Outcome:
    """A generation as it is now."""
    rows = _with_outputs(Generation.objects.filter(pk=generation_id))
    return _outcome(rows.get())


def outcomes(requester: Requester, *, limit: int, cursor: str = "", status: str = "") -> Page:
    """A page of the requester's generations, newest first."""
    rows = _own(requester)
    if status:
        rows = rows.filter(status=status)
    if cursor:
        rows = rows.filter(pk__lt=_cursor("gen", cursor))
    found = list(_with_outputs(rows.order_by("-pk"))[: limit + 1])
    page = [_outcome(row) for row in found[:limit]]
    return Page(page, page[-1].id if len(found) > limit else "")


def _cursor(prefix: str, cursor: str) -> uuid.UUID:
    row_id = parse_public_id(prefix, cursor)
    if row_id is None:
        raise Refusal("invalid", "invalid_request", "The cursor is not one of ours.", param="cursor")
    return row_id


def _with_outputs(rows: QuerySet[Generation]) -> QuerySet[Generation]:
    return rows.prefetch_related("outputs__media", "outputs__attempts__channel")


def _outcome(row: Generation) -> Outcome:
    outputs = tuple(_output(each) for each in sorted(row.outputs.all(), key=lambda each: each.index))
    first_error = next((each.error for each in outputs if each.error), None)
    return Outcome(
        id=row.public_id,
        status=row.status,
        mode="live" if row.mode == "live" else "test",
        model=row.image_model_id,
        prompt=row.prompt,
        aspect_ratio=row.aspect_ratio,
        image_size=row.image_size,
        n=row.n,
        quote_micros=row.quote_micros,
        price_micros=row.price_micros,
        warnings=tuple(row.warnings),
        metadata=row.metadata,
        tags=tuple(row.tags),
        error=first_error if row.status == "failed" else None,
        created_at=row.created_at,
        finished_at=row.finished_at,
        outputs=outputs,
    )


def _output(row: Output) -> OutputOutcome:
    media: Media | None = getattr(row, "media", None) if row.state == State.SUCCEEDED else None
    is_done = media is not None
    return OutputOutcome(
        id=row.public_id,
        index=row.index,
        status=State(row.state).public,
        mime_type=media.mime_type if media else None,
        width=media.width if media else None,
        height=media.height if media else None,
        byte_count=media.byte_count if media else None,
        text=row.text if is_done else None,
        sources=tuple(Source(**each) for each in row.sources),
        search_suggestions=row.search_suggestions or None,
        usage=Usage(**row.usage) if is_done and row.usage else None,
        price_micros=row.price_micros,
        attempts=tuple(_attempt(each) for each in row.attempts.all()),
        error={"code": row.error_code, "message": row.error_message} if row.error_code else None,
    )


def _attempt(row: Attempt) -> dict[str, Any]:
    """The public side of an attempt: channel, state and times; never cost or an upstream's words."""
    return {
        "number": row.number,
        "channel": row.channel.name,
        "status": row.status,
        "started_at": row.started_at,
        "finished_at": row.finished_at,
    }


def progress(generation_id: uuid.UUID) -> tuple[str, int, int]:
    """What changes while a generation runs, in one small query: status, unfinished outputs, attempts."""
    counted = Generation.objects.annotate(attempt_count=Count("outputs__attempts"))
    return counted.values_list("status", "open_count", "attempt_count").get(pk=generation_id)


def finished(generation_ids: Sequence[uuid.UUID]) -> list[uuid.UUID]:
    """Which of these have ended, in one query."""
    rows = Generation.objects.filter(pk__in=generation_ids, finished_at__isnull=False)
    return list(rows.values_list("pk", flat=True))


def media_of(requester: Requester, output_id: str) -> Media:
    """The stored image of one of the requester's own outputs."""
    row = (
        Media.objects.select_related("output")
        .filter(
            output_id__in=filter(None, [parse_public_id("out", output_id)]),
            output__account=requester.account,
            output__mode=requester.mode,
            output__state=State.SUCCEEDED,
        )
        .first()
    )
    if row is None:
        raise Refusal("not_found", "output_not_found", "There is no image of yours with that id.")
    return row


def media_by_link(output_id: str) -> Media | None:
    """The stored image behind a signed link; the signature is what gives access."""
    row_id = parse_public_id("out", output_id)
    if row_id is None:
        return None
    return Media.objects.select_related("output").filter(output_id=row_id, output__state=State.SUCCEEDED).first()
