"""Requests per minute, by a moving window: in Redis where there is one, else in this process."""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass

from django.conf import settings
from limits import RateLimitItemPerMinute
from limits.storage import storage_from_string
from limits.strategies import MovingWindowRateLimiter


@dataclass(frozen=True, slots=True)
class RateLimitState:
    """What to tell the client: the limit, what is left, and the seconds until a place is free."""

    is_allowed: bool
    limit: int
    remaining: int
    reset_seconds: int


@functools.cache
def _limiter() -> MovingWindowRateLimiter:
    url = settings.NBP_REDIS_URL
    return MovingWindowRateLimiter(storage_from_string(url or "memory://"))


def hit(name: str, *, per_minute: int) -> RateLimitState:
    """Count one request of `name` and say whether it is within `per_minute`."""
    item = RateLimitItemPerMinute(per_minute)
    limiter = _limiter()
    is_allowed = limiter.hit(item, name)
    window = limiter.get_window_stats(item, name)
    reset_seconds = max(1, round(window.reset_time - time.time())) if window.remaining < per_minute else 0
    return RateLimitState(
        is_allowed=is_allowed, limit=per_minute, remaining=max(0, window.remaining), reset_seconds=reset_seconds
    )
