"""Which channel an output is called on now. Looks for several outputs at once; writes nothing."""

from __future__ import annotations

import uuid
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from accounts.group_commit import GroupCommit
from generation.channels import registry, routing
from generation.channels.models import Channel
from generation.execution.leases import Lease
from generation.models import Attempt, Output


@dataclass(frozen=True, slots=True)
class Road:
    """Call `channel` with the attempt's number, or wait until `wait_until`, or (both None) give up."""

    channel: Channel | None
    wait_until: datetime | None
    attempt_number: int


_Asked = tuple[Lease, Output, datetime]
# Channel and status of an output's earlier attempts.
_Attempts = list[tuple[uuid.UUID, str]]


def choose(lease: Lease, output: Output, *, now: datetime) -> Road:
    """The road of one output that is leased."""
    return _LOOK.do((lease, output, now))


def choose_each(asked: Sequence[_Asked]) -> list[Road]:
    """The roads of several: one look at the channels of each mode and model, one at all earlier attempts."""
    kinds = {(output.mode, output.generation.image_model_id) for _, output, _ in asked}
    channels = {kind: registry.candidates(*kind) for kind in kinds}
    attempts = _earlier_attempts([output.pk for lease, output, _ in asked if lease.number > 1])
    return [
        _road(channels[output.mode, output.generation.image_model_id], attempts.get(output.pk, []), now)
        for _, output, now in asked
    ]


_LOOK = GroupCommit(choose_each)


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
