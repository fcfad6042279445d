"""Takes outputs and says which channel each is called on now; several at once."""

from __future__ import annotations

import uuid
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from generation.channels import registry, routing
from generation.channels.models import Channel
from generation.execution.leases import Claim, Lease, claim_many
from generation.models import Attempt, Output


@dataclass(frozen=True, slots=True)
class Road:
    """Call `channel` with the attempt's number, or wait until `wait_until`, or (both None) give up."""

    channel: Channel | None
    wait_until: datetime | None
    attempt_number: int


@dataclass(frozen=True, slots=True)
class Taken:
    """An output that is ours to run, and the road it takes."""

    lease: Lease
    output: Output
    road: Road


# Channel and status of an output's earlier attempts.
_Attempts = list[tuple[uuid.UUID, str]]


def take_each(output_ids: Sequence[uuid.UUID], *, now: datetime) -> list[Taken | None]:
    """Claim outputs that are due and choose their roads; None for one that somebody else has, or that has ended.

    One claim for all, one look at the channels of each mode and model, one at earlier attempts.
    """
    claims = claim_many(output_ids)
    outputs = [claim.output for claim in claims if claim]
    kinds = {(output.mode, output.generation.image_model_id) for output in outputs}
    channels = {kind: registry.candidates(*kind) for kind in kinds}
    attempts = _earlier_attempts([claim.output.pk for claim in claims if claim and claim.lease.number > 1])

    def taken(claim: Claim) -> Taken:
        output = claim.output
        own = channels[output.mode, output.generation.image_model_id]
        return Taken(claim.lease, output, _road(own, attempts.get(output.pk, []), now))

    return [taken(claim) if claim else None for claim in claims]


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
