"""A bell: settlement rings a generation's id, waiting listens. A lost ring costs one tick of the listener's net."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from django.conf import settings

logger = logging.getLogger(__name__)
CHANNEL = "nbp:finished"
Listener = Callable[[str], None]

_listeners: set[Listener] = set()
_lock = threading.Lock()
_redis: list[object] = []


def listen(listener: Listener) -> Callable[[], None]:
    """Call `listener(generation id)` for each ring in this process; the answer stops it."""
    with _lock:
        _listeners.add(listener)
    return lambda: _listeners.discard(listener)


def ring(generation_id: str) -> None:
    """A generation has ended. Never fails: it is only a hint."""
    hear(generation_id)
    if settings.NBP_REDIS_URL:
        _publish(generation_id)


def hear(generation_id: str) -> None:
    """Pass a ring, from here or from another process, to this process's listeners."""
    for listener in list(_listeners):
        listener(generation_id)


def _publish(generation_id: str) -> None:
    import redis

    try:
        with _lock:
            if not _redis:
                _redis.append(redis.Redis.from_url(settings.NBP_REDIS_URL, socket_timeout=2, socket_connect_timeout=2))
        client = _redis[0]
        assert isinstance(client, redis.Redis)
        client.publish(CHANNEL, generation_id)
    except redis.RedisError as error:
        logger.warning("could not ring for %s: %s", generation_id, error)
