"""Takes outputs and says which channel each is called on now; several at once, in one transaction."""

from __future__ import annotations

import uuid
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from accounts.transactions import repeatable, write_transaction
from generation.channels import registry, routing
from generation.channels.models import Channel
from generation.contract import Call
from generation.execution.calls import attempt_for, call_without_files, needs_files
from generation.execution.leases import Lease, claim, claim_and_send, lease_of, lock_due
from generation.models import Attempt, Output


@dataclass(frozen=True, slots=True)
class Road:
    """Call `channel` with the attempt's number, or wait until `wait_until`, or (both None) give up."""

    channel: Channel | None
    wait_until: datetime | None
    attempt_number: int


@dataclass(frozen=True, slots=True)
class Sending:
    """A call that passed the fence with its attempt."""

    call: Call
    attempt: Attempt


@dataclass(frozen=True, slots=True)
class Taken:
    """An output that is ours to run, and the road it takes. Without `sending`, its call is still to be put together."""

    lease: Lease
    output: Output
    road: Road
    sending: Sending | None


# Channel and status of an output's earlier attempts.
_Attempts = list[tuple[uuid.UUID, str]]


@repeatable
def take_each(output_ids: Sequence[uuid.UUID], *, now: datetime) -> list[Taken | None]:
    """Claim outputs that are due and choose their roads. What needs nothing fetched passes the fence as well.

    None for an output that somebody else has, that has ended, or that is asked for twice.
    """
    with write_transaction():
        found = lock_due(output_ids)
        taken = {each.output.pk: each for each in _on_their_roads(found.values(), now)}
        claim([each.lease.output_id for each in taken.values() if not each.sending])
        claim_and_send([each.sending.attempt for each in taken.values() if each.sending])
    return [taken.pop(output_id, None) for output_id in output_ids]


def _on_their_roads(outputs: Collection[Output], now: datetime) -> list[Taken]:
    """One look at the channels of each mode and model, one at earlier attempts."""
    kinds = {(output.mode, output.generation.image_model_id) for output in outputs}
    channels = {kind: registry.candidates(*kind) for kind in kinds}
    attempts = _earlier_attempts([output.pk for output in outputs if output.lease_number])
    taken = []
    for output in outputs:
        own = channels[output.mode, output.generation.image_model_id]
        road = _road(own, attempts.get(output.pk, []), now)
        taken.append(Taken(lease_of(output), output, road, _sending(output, road, now)))
    return taken


def _sending(output: Output, road: Road, now: datetime) -> Sending | None:
    if road.channel is None or needs_files(output.generation):
        return None
    call = call_without_files(output, road.channel, attempt_number=road.attempt_number)
    attempt = attempt_for(output, road.channel, call, lease_number=lease_of(output).number, now=now)
    return Sending(call, attempt)


def _earlier_attempts(output_ids: Sequence[uuid.UUID]) -> Mapping[uuid.UUID, _Attempts]:
    found: dict[uuid.UUID, _Attempts] = defaultdict(list)
    if output_ids:
        rows = Attempt.objects.filter(output__in=output_ids).values_list("output_id", "channel_id", "status")
        for output_id, channel_id, status in rows:
            found[output_id].append((channel_id, status))
    return found


def _road(channels: Sequence[Channel], attempts: _Attempts, now: datetime) -> Road:
    options = [routing.Candidate(str(row.pk), row.priority, row.cool_until) for row in channels]
    choice = routing.choose(options, _errors(channels, attempts), now=now)
    chosen = next((row for row in channels if str(row.pk) == choice.channel_id), None)
    return Road(chosen, choice.wait_until, len(attempts) + 1)


def _errors(channels: Sequence[Channel], attempts: _Attempts) -> Mapping[str, int]:
    """Answered errors by channel; every attempt counts for every channel once there were too many in all."""
    if len(attempts) >= routing.MAX_ATTEMPTS:
        return {str(channel.pk): routing.MAX_ATTEMPTS for channel in channels}
    return Counter(str(channel_id) for channel_id, status in attempts if status == Attempt.Status.ERROR)
