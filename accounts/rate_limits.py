"""Requests per minute, by a moving window: in Redis where there is one (one round trip), else in this process."""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import cast

import redis
from django.conf import settings
from limits import RateLimitItemPerMinute
from limits.storage import RedisStorage, storage_from_string
from limits.strategies import MovingWindowRateLimiter
from redis.exceptions import NoScriptError


@dataclass(frozen=True, slots=True)
class RateLimitState:
    """What to tell the client: the limit, what is left, and the seconds until a place is free."""

    is_allowed: bool
    limit: int
    remaining: int
    reset_seconds: int


logger = logging.getLogger(__name__)
_WINDOW_SECONDS = 60.0
_OWN_SECONDS = 10.0
_own_until = [0.0]


class _OwnWindows:
    """The times of the last minute's requests, by name, in this process."""

    def __init__(self) -> None:
        self._times: dict[str, deque[float]] = {}
        self._lock = threading.Lock()
        self._forgotten_at = time.monotonic()

    def hit(self, name: str, per_minute: int) -> RateLimitState:
        now = time.monotonic()
        with self._lock:
            self._forget_the_idle(now)
            times = self._times.setdefault(name, deque())
            while times and times[0] <= now - _WINDOW_SECONDS:
                times.popleft()
            is_allowed = len(times) < per_minute
            if is_allowed:
                times.append(now)
            return _state(is_allowed, per_minute, len(times), times[0] + _WINDOW_SECONDS - now if times else 0.0)

    def _forget_the_idle(self, now: float) -> None:
        """Names are addresses too: those that stopped asking must not be kept for ever."""
        if now - self._forgotten_at < _WINDOW_SECONDS:
            return
        self._forgotten_at, since = now, now - _WINDOW_SECONDS
        self._times = {name: times for name, times in self._times.items() if times and times[-1] > since}


@functools.cache
def _own_limiter() -> _OwnWindows:
    return _OwnWindows()


@functools.cache
def _shared_limiter() -> MovingWindowRateLimiter:
    storage = storage_from_string(settings.NBP_REDIS_URL, socket_timeout=0.5, socket_connect_timeout=0.5)
    return MovingWindowRateLimiter(storage)


def hit(name: str, *, per_minute: int) -> RateLimitState:
    """Count one request of `name` and say whether it is within `per_minute`."""
    if settings.NBP_REDIS_URL and time.monotonic() >= _own_until[0]:
        try:
            return _hit_shared(_shared_limiter(), name, per_minute)
        except redis.RedisError as error:
            # A limit counted here alone is better than a service that answers nobody.
            logger.warning("rate limits are counted in this process for a while: %s", error)
            _own_until[0] = time.monotonic() + _OWN_SECONDS
    return _own_limiter().hit(name, per_minute)


def _hit_shared(limiter: MovingWindowRateLimiter, name: str, per_minute: int) -> RateLimitState:
    """Two of the library's scripts, sent together: take a place in the window, then look at the window."""
    item, storage = RateLimitItemPerMinute(per_minute), cast(RedisStorage, limiter.storage)
    key, now = storage.prefixed_key(item.key_for(name)), time.time()
    with cast(redis.Redis, storage.get_connection()).pipeline(transaction=False) as both:
        both.evalsha(storage.lua_acquire_moving_window.sha, 1, key, now, per_minute, item.get_expiry(), 1)
        both.evalsha(storage.lua_moving_window.sha, 1, key, now - item.get_expiry(), per_minute)
        try:
            is_allowed, window = both.execute()
        except NoScriptError:
            # A Redis that was started since does not know the scripts; the library's own way makes it learn them.
            is_allowed = limiter.hit(item, name)
            window = storage.get_moving_window(item.key_for(name), per_minute, item.get_expiry())
    oldest, count = (float(window[0]), int(window[1])) if window else (now, 0)
    return _state(bool(is_allowed), per_minute, count, oldest + item.get_expiry() - now)


def _state(is_allowed: bool, per_minute: int, count: int, free_in_seconds: float) -> RateLimitState:
    remaining = max(0, per_minute - count)
    reset_seconds = max(1, round(free_in_seconds)) if remaining < per_minute else 0
    return RateLimitState(is_allowed=is_allowed, limit=per_minute, remaining=remaining, reset_seconds=reset_seconds)
