"""Which channel next. Pure Python: candidates in, a choice out.

Channels are tried in order of what the request prefers, then of priority, then by weight. One that is cooling down is
passed over while another can serve; when all that could serve are cooling down, the output waits for the first of them.
A channel has served its turn for an output after five answered errors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

MAX_ERRORS_PER_CHANNEL = 5
MAX_UNKNOWNS = 3
# The end of everything: no output is worth more calls than this, however they ended.
MAX_ATTEMPTS = 20


@dataclass(frozen=True, slots=True)
class Candidate:
    """A channel that is configured for the mode and a model of an output.

    `rank` is the model's place among those the request allows; `place` what the request's own order and sorting make
    of the channel: the smallest goes first. `cool_until` is when it can be called again.
    """

    id: str
    priority: int
    cool_until: datetime | None = None
    weight: int = 1
    rank: int = 0
    place: float = 0.0


@dataclass(frozen=True, slots=True)
class Choice:
    """Call this candidate now, or wait until `wait_until`, or (both None) give up."""

    candidate: Candidate | None = None
    wait_until: datetime | None = None

    @property
    def channel_id(self) -> str | None:
        return self.candidate.id if self.candidate else None


def choose(candidates: Sequence[Candidate], errors: Mapping[str, int], *, now: datetime, chance: float = 0.0) -> Choice:
    """The next channel for an output that has had `errors` answered errors by channel id.

    `chance`, from 0 to below 1, decides by weight among candidates that are otherwise equal.
    """
    usable = [each for each in candidates if errors.get(each.id, 0) < MAX_ERRORS_PER_CHANNEL]
    ready = [each for each in usable if each.cool_until is None or each.cool_until <= now]
    if ready:
        first = min(map(_order, ready))
        return Choice(_by_weight([each for each in ready if _order(each) == first], chance))
    waits = [each.cool_until for each in usable if each.cool_until is not None]
    return Choice(wait_until=min(waits)) if waits else Choice()


def _order(candidate: Candidate) -> tuple[int, float, int]:
    return candidate.rank, candidate.place, candidate.priority


def _by_weight(equal: Sequence[Candidate], chance: float) -> Candidate:
    in_order = sorted(equal, key=lambda each: each.id)
    left = chance * sum(max(each.weight, 0) for each in in_order)
    for each in in_order:
        left -= max(each.weight, 0)
        if left < 0:
            return each
    return in_order[0]


def backoff_seconds(error_count: int, *, retry_after: float | None, base_seconds: float, chance: float) -> float:
    """max(Retry-After, (2^k + chance) x base) seconds after the k-th error; `chance` is between 0 and 1."""
    own: float = (2.0**error_count + chance) * base_seconds
    return max(retry_after or 0.0, own)
