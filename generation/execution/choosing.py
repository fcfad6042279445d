"""Takes outputs and says which channel each is called on now; several at once, in one transaction."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from accounts.transactions import repeatable, write_transaction
from generation.channels import registry
from generation.contract import Call
from generation.execution.calls import Road, Tried, attempt_for, call_without_files, needs_files
from generation.execution.jobs import Joining, join
from generation.execution.leases import Lease, claim, claim_and_send, lease_of, lock_due
from generation.execution.roads import Map
from generation.models import Attempt, Output


@dataclass(frozen=True, slots=True)
class Sending:
    """A call that passed the fence with its attempt."""

    call: Call
    attempt: Attempt


@dataclass(frozen=True, slots=True)
class Taken:
    """An output that is ours to run, and the road it takes.

    With `joining` it is in a job, and there is no more to do; without `sending`, its call is still to be put together.
    """

    lease: Lease
    output: Output
    road: Road
    sending: Sending | None = None
    joining: Joining | None = None


@repeatable
def take_each(output_ids: Sequence[uuid.UUID], *, now: datetime) -> list[Taken | None]:
    """Claim outputs that are due and choose their roads. What needs nothing fetched passes the fence as well.

    None for an output that somebody else has, that has ended, or that is asked for twice.
    """
    with write_transaction():
        found = lock_due(output_ids)
        taken = {each.output.pk: each for each in _on_their_roads(found.values(), now)}
        claim([each.lease.output_id for each in taken.values() if not (each.sending or each.joining)])
        claim_and_send([each.sending.attempt for each in taken.values() if each.sending])
        _hand_over([each.sending.attempt for each in taken.values() if each.sending and each.road.handle])
        join([each.joining for each in taken.values() if each.joining], now=now)
    return [taken.pop(output_id, None) for output_id in output_ids]


def _on_their_roads(outputs: Collection[Output], now: datetime) -> list[Taken]:
    """One look at the channels of each mode and model, one at earlier attempts."""
    roads = Map(list(outputs), now=now)
    attempts = earlier_attempts([output.pk for output in outputs if output.lease_number])
    taken = []
    for output in outputs:
        road = roads.road(output, attempts.get(output.pk, []))
        joining = _joining(output, road, now)
        taken.append(Taken(lease_of(output), output, road, None if joining else _sending(output, road, now), joining))
    return taken


def _joining(output: Output, road: Road, now: datetime) -> Joining | None:
    if road.channel is None or road.channel.kind not in registry.BATCH_ADAPTERS:
        return None
    call = call_without_files(output, road)
    return Joining(output, road, attempt_for(output, road, call, lease_number=lease_of(output).number, now=now))


def _sending(output: Output, road: Road, now: datetime) -> Sending | None:
    # Work that is followed needs no files: it has them.
    if road.channel is None or road.source_id or (needs_files(output.generation) and not road.handle):
        return None
    call = call_without_files(output, road)
    attempt = attempt_for(output, road, call, lease_number=lease_of(output).number, now=now)
    return Sending(call, attempt)


def _hand_over(attempts: Sequence[Attempt]) -> None:
    """Work that is followed is billed once: by the attempt that followed it."""
    for each in attempts:
        earlier = Attempt.objects.filter(output=each.output_id, handle=each.handle, number__lt=each.number)
        earlier.update(cost_micros=0)


def earlier_attempts(output_ids: Sequence[uuid.UUID]) -> Mapping[uuid.UUID, list[Tried]]:
    """What was tried for outputs before, in order; nothing is kept of one that was never tried."""
    found: dict[uuid.UUID, list[Tried]] = defaultdict(list)
    if output_ids:
        rows = Attempt.objects.filter(output__in=output_ids).order_by("output_id", "number")
        columns = ("output_id", "channel_id", "status", "handle", "error_kind", "image_model_id")
        for output_id, channel_id, status, handle, error_kind, image_model in rows.values_list(*columns):
            found[output_id].append(Tried(channel_id, status, handle, error_kind, image_model))
    return found
