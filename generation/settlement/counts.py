"""What an ended output means to its generation, and to the operator's counts."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection, transaction

from accounts.compiled import CompiledSelect
from generation import measurements, wakeups
from generation.models import Attempt, Generation


@dataclass(frozen=True, slots=True)
class Change:
    """One output of a generation has ended."""

    generation_id: uuid.UUID
    succeeded: int = 0
    failed: int = 0
    price_micros: int = 0


_COUNT = """
UPDATE generation_generation
SET open_count = open_count - %(ended)s, succeeded_count = succeeded_count + %(succeeded)s,
    failed_count = failed_count + %(failed)s, price_micros = price_micros + %(price_micros)s,
    finished_at = CASE WHEN open_count = %(ended)s THEN %(now)s ELSE finished_at END,
    status = CASE WHEN open_count <> %(ended)s THEN status WHEN succeeded_count + %(succeeded)s > 0 THEN 'succeeded'
             WHEN failed_count + %(failed)s > 0 THEN 'failed' ELSE 'canceled' END
WHERE id = %(id)s
"""
_COUNT_ONE = f"{_COUNT} RETURNING open_count"


_ended = CompiledSelect(lambda ids: Generation.objects.filter(pk__in=ids, open_count=0).values_list("pk", flat=True))


def finish(changes: Sequence[Change], *, now: datetime) -> None:
    """Count ended outputs; the last one of a generation ends it and rings. Generations in order: nobody deadlocks."""
    if not changes:
        return
    by_generation: dict[uuid.UUID, list[Change]] = defaultdict(list)
    for change in changes:
        by_generation[change.generation_id].append(change)
    clock, key = Generation._meta.get_field("finished_at"), Generation._meta.get_field("id")
    values = [
        {
            "ended": len(own),
            "succeeded": sum(each.succeeded for each in own),
            "failed": sum(each.failed for each in own),
            "price_micros": sum(each.price_micros for each in own),
            "now": clock.get_db_prep_save(now, connection),
            "id": key.get_db_prep_save(generation_id, connection),
        }
        for generation_id, own in sorted(by_generation.items())
    ]
    rung = [str(pk) for pk in _counted(values, list(by_generation))]
    # Whatever becomes of the ring, the settlement is committed and must not look as if it had failed.
    transaction.on_commit(lambda: wakeups.ring_many(rung), robust=True)


def _counted(values: Sequence[Mapping[str, Any]], generation_ids: Sequence[uuid.UUID]) -> Sequence[uuid.UUID]:
    """Write the counts; those whose last output has ended. Alone, a generation says so itself."""
    with connection.cursor() as cursor:
        if len(values) > 1:
            cursor.executemany(_COUNT, values)
            return _ended(generation_ids)
        cursor.execute(_COUNT_ONE, values[0])
        return generation_ids if cursor.fetchone() == (0,) else []


def measure_attempt(attempt: Attempt, *, result: str, now: datetime, cost_micros: int) -> None:
    """Count a call that has ended, after its row says so."""
    measurements.attempt_ended(
        output_id=attempt.output_id,
        number=attempt.number,
        channel=attempt.channel.name,
        model=attempt.output.generation.image_model_id,
        mode=attempt.output.mode,
        result=result,
        seconds=max(0.0, (now - attempt.started_at).total_seconds()),
        cost_micros=cost_micros,
    )
