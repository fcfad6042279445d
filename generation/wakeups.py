"""A bell: settlement rings generations' ids, waiting listens. A lost ring costs one tick of the listener's net."""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable, Sequence

import redis
from django.conf import settings

logger = logging.getLogger(__name__)
CHANNEL = "nbp:finished"
Listener = Callable[[Sequence[str]], None]

_listeners: set[Listener] = set()
_lock = threading.Lock()
_subscriber: list[threading.Thread] = []
_is_subscribed = threading.Event()
_RECONNECT_SECONDS = 2.0
# Whoever settles must not wait for a Redis that does not answer: after a failure nobody rings there for a while.
_SILENCE_SECONDS = 5.0
_silent_until = [0.0]


def listen(listener: Listener) -> Callable[[], None]:
    """Call `listener(generation ids)` for each ring in this process; the answer stops it."""
    with _lock:
        _listeners.add(listener)
    return lambda: _listeners.discard(listener)


def ring(generation_id: str) -> None:
    """A generation has ended. Never fails: it is only a hint."""
    ring_many([generation_id])


def ring_many(generation_ids: Sequence[str]) -> None:
    """Several generations have ended: one message for all of them."""
    if not generation_ids:
        return
    _hear(generation_ids)
    if settings.NBP_REDIS_URL and time.monotonic() >= _silent_until[0]:
        _publish(generation_ids)


def _hear(generation_ids: Sequence[str]) -> None:
    """Pass a ring, from here or from another process, to this process's listeners."""
    for listener in list(_listeners):
        listener(generation_ids)


@functools.cache
def _client() -> redis.Redis:
    return redis.Redis.from_url(settings.NBP_REDIS_URL, socket_timeout=2, socket_connect_timeout=2)


def _publish(generation_ids: Sequence[str]) -> None:
    try:
        _client().publish(CHANNEL, ",".join(generation_ids))
    except redis.RedisError as error:
        _silent_until[0] = time.monotonic() + _SILENCE_SECONDS
        logger.warning("could not ring, waiters look for themselves for a while: %s", error)


def hear_other_processes() -> None:
    """Hear what other processes ring, over one Redis subscription for this process. Nothing to do without Redis."""
    if not settings.NBP_REDIS_URL:
        return
    with _lock:
        if not _subscriber:
            _subscriber.append(threading.Thread(target=_subscribe, name="wakeups", daemon=True))
            _subscriber[0].start()


def hears_other_processes() -> bool:
    """Whether the subscription stands."""
    return _is_subscribed.is_set()


def _subscribe() -> None:
    while True:
        try:
            client = redis.Redis.from_url(settings.NBP_REDIS_URL, socket_connect_timeout=2, health_check_interval=15)
            with client.pubsub(ignore_subscribe_messages=True) as subscription:  # type: ignore[no-untyped-call]
                subscription.subscribe(CHANNEL)
                _is_subscribed.set()
                for message in subscription.listen():
                    _hear(message["data"].decode().split(","))
        except redis.RedisError as error:
            _is_subscribed.clear()
            logger.warning("lost the wake-up subscription, waiting by looking instead: %s", error)
            time.sleep(_RECONNECT_SECONDS)
