"""Which channel next. Pure Python: candidates in, a choice out.

Channels are tried in order of priority. One that is cooling down is passed over while another can serve; when all that
could serve are cooling down, the output waits for the first of them. A channel has served its turn for an output after
five answered errors.
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
    """A channel that is configured for the mode and model of an output."""

    id: str
    priority: int
    cool_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """Call `channel_id` now, or wait until `wait_until`, or (both None) give up."""

    channel_id: str | None = None
    wait_until: datetime | None = None


def choose(candidates: Sequence[Candidate], errors: Mapping[str, int], *, now: datetime) -> Choice:
    """The next channel for an output that has had `errors` answered errors by channel id."""
    usable = [each for each in candidates if errors.get(each.id, 0) < MAX_ERRORS_PER_CHANNEL]
    ready = [each for each in usable if each.cool_until is None or each.cool_until <= now]
    if ready:
        return Choice(channel_id=min(ready, key=lambda each: (each.priority, each.id)).id)
    waits = [each.cool_until for each in usable if each.cool_until is not None]
    return Choice(wait_until=min(waits)) if waits else Choice()


def backoff_seconds(error_count: int, *, retry_after: float | None, base_seconds: float, chance: float) -> float:
    """max(Retry-After, (2^k + chance) x base) seconds after the k-th error; `chance` is between 0 and 1."""
    own: float = (2.0**error_count + chance) * base_seconds
    return max(retry_after or 0.0, own)
