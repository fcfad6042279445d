"""Roads that lead to no provider: a copy of what was made before, and what is better than nothing at the end."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from django.db.models import Exists, OuterRef, QuerySet

from generation import media
from generation.channels import registry
from generation.channels.models import Channel
from generation.channels.seed import CACHE, HOUSE, PLACEHOLDER
from generation.execution.calls import Road, Tried
from generation.models import Attempt, Output, State

# What a stored image is to a request that asks for it: its answer, what stands in for one, or not there.
HIT, STALE, MISS = "hit", "stale", "miss"


def is_hit(output: Output, tried: Sequence[Tried]) -> bool:
    """Whether what was made before answers the request, and was not tried in vain."""
    return output.generation.routing.get("cache") == HIT and output.source_id is not None and not tried


def to_source(output: Output, number: int) -> Road:
    """The road to the image that the output may show."""
    channel = registry.house_channel(CACHE, output.mode)
    return Road(channel, None, number, source_id=output.source_id)


def has_last_resort(output_id: uuid.UUID) -> bool:
    """Whether there is something better than a failure, if no channel can make the image."""
    output = Output.objects.select_related("generation").get(pk=output_id)
    routing = output.generation.routing
    return bool(routing.get("on_failure") or (routing.get("cache") == STALE and output.source_id))


def last_resort(output: Output, tried: Sequence[Tried], number: int) -> Road | None:
    """An older image where the request allows one, or a placeholder where it wants one rather than nothing."""
    routing = output.generation.routing
    if _was_tried(tried):
        return None
    if routing.get("cache") == STALE and output.source_id is not None:
        return to_source(output, number)
    if routing.get("on_failure") != PLACEHOLDER:
        return None
    source_id = _newest_of_its_content(output)
    if source_id is not None:
        return Road(registry.house_channel(CACHE, output.mode), None, number, source_id=source_id)
    return Road(registry.house_channel(PLACEHOLDER, output.mode), None, number)


def _was_tried(tried: Sequence[Tried]) -> bool:
    ids = {each.channel_id for each in tried}
    return Channel.objects.filter(pk__in=ids, kind__in=HOUSE).exists()


def _newest_of_its_content(output: Output) -> uuid.UUID | None:
    generation = output.generation
    if not generation.content_sha256:
        return None
    made = _models_own(
        Output.objects.filter(**_content_of(generation.account_id, output.mode, generation.content_sha256))
    )
    return made.order_by("-pk").values_list("pk", flat=True).first()


def made_before(account_id: uuid.UUID, mode: str, content_sha256: str) -> list[Output]:
    """The images of the newest generation of that content that a model made whole and whose files are there."""
    rows = _models_own(Output.objects.filter(index=0, **_content_of(account_id, mode, content_sha256)))
    newest = rows.filter(generation__status="succeeded", generation__failed_count=0).order_by("-pk")
    for generation_id, n in newest.values_list("generation", "generation__n")[:3]:
        found = _models_own(Output.objects.filter(generation=generation_id, **_DELIVERED))
        outputs = list(found.select_related("generation", "media").order_by("index"))
        if len(outputs) == n and all(media.exists(each.media.storage_name) for each in outputs):
            return outputs
    return []


def _models_own(outputs: QuerySet[Output]) -> QuerySet[Output]:
    """Those that a model made: a copy is as old as what it was made of, and a placeholder is nobody's."""
    delivered = Attempt.objects.filter(output=OuterRef("pk"), is_delivered=True, channel__kind__in=HOUSE)
    return outputs.filter(~Exists(delivered))


_DELIVERED = {"state": State.SUCCEEDED, "media__isnull": False, "media__purged_at": None}


def _content_of(account_id: uuid.UUID, mode: str, content_sha256: str) -> dict[str, Any]:
    return {
        "generation__account": account_id,
        "generation__mode": mode,
        "generation__content_sha256": content_sha256,
        **_DELIVERED,
    }
