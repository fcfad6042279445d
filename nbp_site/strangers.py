"""Messages in the queue that nobody of ours has sent: dropped, and said so, instead of ending the worker.

Celery gives back to the queue what a worker died of, so that every worker started after it would die of the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery.exceptions import InvalidTaskError
from celery.worker.strategy import default


def strategy(task: Any, app: Any, consumer: Any, **options: Any) -> Callable[..., Any]:
    """Celery's own way to take a message in. What it cannot take apart is an InvalidTaskError, which drops it."""
    take_in = default(task, app, consumer, **options)

    def take_in_or_drop(message: Any, body: Any, *args: Any, **more: Any) -> Any:
        try:
            return take_in(message, body, *args, **more)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InvalidTaskError(f"a message of another shape: {error}") from error

    return take_in_or_drop
