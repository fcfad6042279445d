"""Generations as doors show them, many at once: two statements, however many outputs and attempts they have."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet

from accounts.authentication import Requester
from accounts.compiled import CompiledSelect
from accounts.identifiers import parse_public_id, public_id
from generation.channels.seed import HOUSE
from generation.contract import Outcome, OutputOutcome, Refusal, Source, Usage
from generation.media import StoredFile
from generation.models import Generation, Output, State
from generation.queries.pages import Page

# One row for each output and attempt. The prompt is in no such row: it may be long, and it is the same in all of them.
_OUTPUT_COLUMNS = (
    "generation_id",
    "id",
    "index",
    "state",
    "image_model_id",
    "price_micros",
    "error_code",
    "error_message",
    "text",
    "sources",
    "search_suggestions",
    "usage",
    "media__mime_type",
    "media__width",
    "media__height",
    "media__byte_count",
    "media__storage_name",
    "attempts__number",
    "attempts__channel__name",
    "attempts__channel__kind",
    "attempts__is_delivered",
    "attempts__status",
    "attempts__started_at",
    "attempts__finished_at",
)


_output_rows = CompiledSelect(
    lambda generations: (
        Output.objects.filter(generation_id__in=generations)
        .order_by("index", "attempts__number")
        .values_list(*_OUTPUT_COLUMNS, named=True)
    )
)
_generations = CompiledSelect(lambda ids: Generation.objects.filter(pk__in=ids))


@dataclass(frozen=True, slots=True)
class Reading:
    """A generation as it is now, and where its images lie: an output's public id leads to its stored file."""

    generation_id: uuid.UUID
    outcome: Outcome
    files: Mapping[str, StoredFile]


def outcome(generation_id: uuid.UUID) -> Outcome:
    """A generation as it is now."""
    return reading(generation_id).outcome


def reading(generation_id: uuid.UUID) -> Reading:
    """The same with the places of its images. Raises LookupError where there is no such generation."""
    return readings([generation_id])[generation_id]


def readings(generation_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Reading]:
    """Many generations in two statements, by id; what does not exist is left out."""
    return {each.generation_id: each for each in _readings(_generations(generation_ids))}


def reading_of(requester: Requester, generation_id: str) -> Reading:
    """A generation by its public id, if it is the requester's own in the same mode; else a refusal."""
    row_id = parse_public_id("gen", generation_id)
    found = _readings(list(own(requester).filter(pk__in=filter(None, [row_id]))))
    if not found:
        raise generation_not_found()
    return found[0]


def reading_at_acceptance(row: Generation, outputs: Sequence[Output]) -> Reading:
    """A generation in the moment of its acceptance, when nothing has been tried yet. Asks the database nothing."""
    return Reading(row.pk, _outcome(row, tuple(_untried(row, each) for each in outputs)), {})


def outcomes(requester: Requester, *, limit: int, cursor: str = "", status: str = "") -> Page:
    """A page of the requester's generations, newest first."""
    rows = own(requester)
    if status:
        rows = rows.filter(status=status)
    if cursor:
        rows = rows.filter(pk__lt=_from_cursor(cursor))
    found = list(rows.order_by("-pk")[: limit + 1])
    page = [each.outcome for each in _readings(found[:limit])]
    return Page(page, page[-1].id if len(found) > limit else "")


def own(requester: Requester) -> QuerySet[Generation]:
    """The requester's own generations, in its mode."""
    return Generation.objects.filter(account=requester.account, mode=requester.mode)


def generation_not_found() -> Refusal:
    return Refusal("not_found", "generation_not_found", "There is no generation of yours with that id.")


def _from_cursor(cursor: str) -> uuid.UUID:
    row_id = parse_public_id("gen", cursor)
    if row_id is None:
        raise Refusal("invalid", "invalid_request", "The cursor is not one of ours.", param="cursor")
    return row_id


def _readings(generations: Sequence[Generation]) -> list[Reading]:
    """In the order of the generations."""
    if not generations:
        return []
    by_output: dict[uuid.UUID, list[Any]] = {}
    for row in _output_rows([row.pk for row in generations]):
        by_output.setdefault(row.id, []).append(row)
    by_generation: dict[uuid.UUID, list[list[Any]]] = {}
    for found in by_output.values():
        by_generation.setdefault(found[0].generation_id, []).append(found)
    return [_reading(row, by_generation.get(row.pk, [])) for row in generations]


def _reading(row: Generation, rows_of_outputs: Sequence[Sequence[Any]]) -> Reading:
    outputs = tuple(_output(row, rows) for rows in rows_of_outputs)
    lying = {
        output.id: StoredFile(rows[0].media__storage_name, rows[0].media__byte_count)
        for output, rows in zip(outputs, rows_of_outputs, strict=True)
        if output.mime_type
    }
    return Reading(row.pk, _outcome(row, outputs), lying)


def _outcome(row: Generation, outputs: tuple[OutputOutcome, ...]) -> Outcome:
    first_error = next((each.error for each in outputs if each.error), None)
    return Outcome(
        id=row.public_id,
        status=row.status,
        mode="live" if row.mode == "live" else "test",
        model=row.image_model_id,
        lane=row.lane,
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


def _output(generation: Generation, rows: Sequence[Any]) -> OutputOutcome:
    """`rows` are of one output, one for each attempt; without an attempt there is one, its attempt's columns null."""
    row = rows[0]
    is_done = row.state == State.SUCCEEDED and row.media__mime_type is not None
    return OutputOutcome(
        id=public_id("out", row.id),
        index=row.index,
        status=State(row.state).public,
        model=row.image_model_id or generation.image_model_id,
        origin=_origin(rows),
        mime_type=row.media__mime_type if is_done else None,
        width=row.media__width if is_done else None,
        height=row.media__height if is_done else None,
        byte_count=row.media__byte_count if is_done else None,
        text=row.text if is_done else None,
        sources=tuple(Source(**each) for each in row.sources),
        search_suggestions=row.search_suggestions or None,
        usage=Usage(**row.usage) if is_done and row.usage else None,
        price_micros=row.price_micros,
        attempts=tuple(_attempt(each) for each in rows if each.attempts__number is not None),
        error={"code": row.error_code, "message": row.error_message} if row.error_code else None,
    )


def _origin(rows: Sequence[Any]) -> str:
    """Where the image came from: a model, what was made before, or nobody."""
    kind = next((row.attempts__channel__kind for row in rows if row.attempts__is_delivered), "")
    return kind if kind in HOUSE else "model"


def _untried(generation: Generation, row: Output) -> OutputOutcome:
    return OutputOutcome(
        id=row.public_id,
        index=row.index,
        status=State(row.state).public,
        model=generation.image_model_id,
        origin="model",
        mime_type=None,
        width=None,
        height=None,
        byte_count=None,
        text=None,
        sources=(),
        search_suggestions=None,
        usage=None,
        price_micros=row.price_micros,
        attempts=(),
        error=None,
    )


def _attempt(row: Any) -> dict[str, Any]:
    """The public side of an attempt: channel, state and times; never cost or an upstream's words."""
    return {
        "number": row.attempts__number,
        "channel": row.attempts__channel__name,
        "status": row.attempts__status,
        "started_at": row.attempts__started_at,
        "finished_at": row.attempts__finished_at,
    }
