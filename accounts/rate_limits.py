"""Requests per minute, by a moving window: in Redis where there is one, else in this process."""

from __future__ import annotations

import functools
import logging
import time
from dataclasses import dataclass

import redis
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


logger = logging.getLogger(__name__)
_OWN_SECONDS = 10.0
_own_until = [0.0]


@functools.cache
def _own_limiter() -> MovingWindowRateLimiter:
    return MovingWindowRateLimiter(storage_from_string("memory://"))


@functools.cache
def _shared_limiter() -> MovingWindowRateLimiter:
    storage = storage_from_string(settings.NBP_REDIS_URL, socket_timeout=0.5, socket_connect_timeout=0.5)
    return MovingWindowRateLimiter(storage)


def hit(name: str, *, per_minute: int) -> RateLimitState:
    """Count one request of `name` and say whether it is within `per_minute`."""
    if settings.NBP_REDIS_URL and time.monotonic() >= _own_until[0]:
        try:
            return _hit(_shared_limiter(), name, per_minute)
        except redis.RedisError as error:
            # A limit counted here alone is better than a service that answers nobody.
            logger.warning("rate limits are counted in this process for a while: %s", error)
            _own_until[0] = time.monotonic() + _OWN_SECONDS
    return _hit(_own_limiter(), name, per_minute)


def _hit(limiter: MovingWindowRateLimiter, name: str, per_minute: int) -> RateLimitState:
    item = RateLimitItemPerMinute(per_minute)
    is_allowed = limiter.hit(item, name)
    window = limiter.get_window_stats(item, name)
    reset_seconds = max(1, round(window.reset_time - time.time())) if window.remaining < per_minute else 0
    return RateLimitState(
        is_allowed=is_allowed, limit=per_minute, remaining=max(0, window.remaining), reset_seconds=reset_seconds
    )
