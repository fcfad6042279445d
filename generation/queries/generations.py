"""Small reads of generations and their images, each bound to one account and mode or to ids already found."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from django.db.models import Count

from accounts.authentication import Requester
from accounts.compiled import CompiledSelect
from accounts.identifiers import parse_public_id
from generation.contract import Refusal
from generation.models import Generation, Media, State
from generation.queries.whole_generations import generation_not_found, own


def find(requester: Requester, generation_id: str) -> uuid.UUID:
    """The generation behind a public id, if it is the requester's own in the same mode."""
    row_id = parse_public_id("gen", generation_id)
    if row_id is None or not own(requester).filter(pk=row_id).exists():
        raise generation_not_found()
    return row_id


def generation_of(requester: Requester, output_id: str) -> str | None:
    """The public id of the generation one of the requester's own outputs belongs to."""
    row_id = parse_public_id("out", output_id)
    row = own(requester).filter(outputs__in=filter(None, [row_id])).first()
    return row.public_id if row else None


def progress(generation_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, tuple[str, int, int]]:
    """What changes while generations run, in one statement: status, unfinished outputs, attempts."""
    counted = Generation.objects.annotate(attempt_count=Count("outputs__attempts"))
    rows = counted.filter(pk__in=generation_ids).values_list("pk", "status", "open_count", "attempt_count")
    return {row_id: (status, open_count, attempts) for row_id, status, open_count, attempts in rows}


_finished = CompiledSelect(
    lambda ids: Generation.objects.filter(pk__in=ids, finished_at__isnull=False).values_list("pk", flat=True)
)


def finished(generation_ids: Sequence[uuid.UUID]) -> list[uuid.UUID]:
    """Which of these have ended, in one query."""
    return _finished(generation_ids)


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


def output_of_conversation(requester: Requester, sha256: str) -> str:
    """The public id of the picture that the requester's newest generation at the end of this conversation made, if it
    made just one."""
    row = own(requester).filter(conversation_sha256=sha256, succeeded_count=1).order_by("-pk").first()
    kept = Media.objects.filter(output__generation=row, purged_at=None).select_related("output")
    found = kept.first() if row else None
    return found.output.public_id if found else ""


def output_of_image(requester: Requester, sha256: str) -> str:
    """The public id of the requester's newest output whose stored image has these bytes, or nothing."""
    rows = Media.objects.filter(
        sha256=sha256, output__account=requester.account, output__mode=requester.mode, purged_at=None
    )
    row = rows.select_related("output").order_by("-pk").first()
    return row.output.public_id if row else ""
