"""How channels did lately, for requests that ask for the quickest or the surest one; remembered for a moment."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from accounts.remembered import Remembered
from generation.models import Attempt

_WINDOW = timedelta(hours=1)
_REMEMBERED_SECONDS = 15.0
# Enough to tell channels apart, and few enough to be read on the way.
_NEWEST = 2000
# What nothing is known of is tried before what is known to be slow or to fail.
_UNKNOWN_LATENCY_MS = 0.0
_UNKNOWN_SUCCESS = 1.0


@dataclass(frozen=True, slots=True)
class Standing:
    """A channel's last hour: the median latency of its answers, in milliseconds, and the share of calls it answered."""

    latency_ms: float = _UNKNOWN_LATENCY_MS
    success: float = _UNKNOWN_SUCCESS


def standings(mode: str) -> Mapping[str, Standing]:
    """Each channel's standing by its id, for those that were called in the last hour."""
    return _STANDINGS.get(mode)


def _read(mode: str) -> Mapping[str, Standing]:
    since = datetime.now(UTC) - _WINDOW
    ended = Attempt.objects.filter(channel__mode=mode, started_at__gte=since, finished_at__isnull=False)
    # A request that was wrong, and a call that this process broke off, say nothing about the road.
    rows = ended.exclude(error_kind__in=("rejected", "interrupted")).order_by("-started_at")
    calls: dict[str, list[int | None]] = defaultdict(list)
    for channel_id, status, latency_ms in rows.values_list("channel_id", "status", "latency_ms")[:_NEWEST]:
        calls[str(channel_id)].append(latency_ms if status == Attempt.Status.OK else None)
    return {channel_id: _standing(each) for channel_id, each in calls.items()}


def _standing(calls: list[int | None]) -> Standing:
    answered = sorted(each for each in calls if each is not None)
    latency = answered[len(answered) // 2] if answered else float("inf")
    return Standing(latency_ms=latency, success=len(answered) / len(calls))


_STANDINGS: Remembered[str, Mapping[str, Standing]] = Remembered(_read, seconds=lambda: _REMEMBERED_SECONDS)
