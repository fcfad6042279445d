"""Keeps calls below what a channel's provider allows: in a minute and at once, counted over all workers.

The counts are of attempt rows, which are written before a call goes out; the channel's row is locked while they are
taken, so that two workers cannot both have the last place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, Min, Q, Sum

from generation.channels.models import Channel
from generation.models import Attempt

_MINUTE = timedelta(minutes=1)
_NEXT_LOOK = timedelta(seconds=2)


@dataclass(slots=True)
class _Room:
    channel: Channel
    requests: int
    tokens: int
    out: int
    minute_ends_at: datetime

    def full_until(self, token_estimate: int, now: datetime) -> datetime | None:
        if self.channel.concurrency is not None and self.out >= self.channel.concurrency:
            return now + _NEXT_LOOK
        requests, tokens = self.channel.requests_per_minute, self.channel.tokens_per_minute
        is_full = requests is not None and self.requests >= requests
        # A call that is larger than the limit by itself goes out when nothing else has.
        is_heavy = tokens is not None and self.tokens > 0 and self.tokens + token_estimate > tokens
        return max(self.minute_ends_at, now + _NEXT_LOOK) if is_full or is_heavy else None

    def take(self, token_estimate: int) -> None:
        self.requests += 1
        self.tokens += token_estimate
        self.out += 1


class Rooms:
    """What is free on the channels that have limits. Inside the transaction that writes the attempts."""

    def __init__(self, channels: Sequence[Channel], *, now: datetime) -> None:
        limited = {each.pk: each for each in channels if _is_limited(each)}
        self._rooms: dict[str, _Room] = {}
        if not limited:
            return
        locked = Channel.objects.select_for_update(no_key=True).filter(pk__in=limited).order_by("pk")
        list(locked.values_list("pk", flat=True))
        recent = Q(started_at__gte=now - _MINUTE)
        counts = (
            Attempt.objects.filter(recent | Q(status=Attempt.Status.SENT), channel__in=limited)
            .order_by()
            .values("channel_id")
            .annotate(
                requests=Count("pk", filter=recent),
                tokens=Sum("token_estimate", filter=recent),
                out=Count("pk", filter=Q(status=Attempt.Status.SENT)),
                oldest=Min("started_at", filter=recent),
            )
        )
        found = {row["channel_id"]: row for row in counts}
        for pk, channel in limited.items():
            row: Mapping[str, Any] = found.get(pk, {})
            oldest = row.get("oldest") or now
            self._rooms[str(pk)] = _Room(
                channel, row.get("requests", 0), row.get("tokens") or 0, row.get("out", 0), oldest + _MINUTE
            )

    def full_until(self, channel: Channel, token_estimate: int, *, now: datetime) -> datetime | None:
        """None while another call may go out; else when to look again."""
        room = self._rooms.get(str(channel.pk))
        return room.full_until(token_estimate, now) if room else None

    def take(self, channel: Channel, token_estimate: int) -> None:
        """A call of so many tokens goes out."""
        room = self._rooms.get(str(channel.pk))
        if room:
            room.take(token_estimate)


def _is_limited(channel: Channel) -> bool:
    return any(
        limit is not None for limit in (channel.requests_per_minute, channel.tokens_per_minute, channel.concurrency)
    )
