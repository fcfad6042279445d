"""A second call for an output whose first one is slow, where the request pays for that: the first image wins.

Both calls run under one lease. What the slower one brings is the house's cost, never a second charge.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime

from django.db import connection

from accounts.transactions import write_transaction
from generation.channels import routing
from generation.execution.calls import Road, attempt_for, call_for, unanswered_count
from generation.execution.choosing import Sending, earlier_attempts
from generation.execution.leases import Lease, send_beside
from generation.execution.roads import Map
from generation.models import Attempt, Output

logger = logging.getLogger(__name__)


class Pair:
    """Two calls that may be out for one output; the last to fail decides what becomes of it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._out = 1
        self._is_over = threading.Event()

    def begin(self) -> bool:
        """The second call goes out, unless the first has ended."""
        with self._lock:
            if self._is_over.is_set():
                return False
            self._out += 1
            return True

    def end(self, *, with_image: bool) -> bool:
        """A call has ended; whether it is the last one, and so has to speak for the output."""
        with self._lock:
            self._out -= 1
            if with_image or not self._out:
                self._is_over.set()
            return not self._out

    def wait(self, seconds: float) -> bool:
        """Whether the first call is still out after so long."""
        return not self._is_over.wait(seconds)


Call = Callable[[Lease, Sending, Pair], None]


def hedge_after(output: Output) -> float | None:
    """Seconds after which a second call goes out; None where the request pays for none."""
    seconds = output.generation.routing.get("hedge_after_seconds")
    return None if seconds is None else float(seconds)


def beside(lease: Lease, first: Sending, seconds: float, call: Call) -> tuple[Pair, threading.Thread]:
    """Watch the first call, and send a second one by another channel if it is not back in time."""
    pair = Pair()
    thread = threading.Thread(target=_watch, args=(lease, first, seconds, call, pair), name="hedge", daemon=True)
    thread.start()
    return pair, thread


def _watch(lease: Lease, first: Sending, seconds: float, call: Call, pair: Pair) -> None:
    try:
        if not pair.wait(seconds):
            return
        road = _another(first.attempt)
        if road is None or not pair.begin():
            return
        _send(lease, first.attempt, road, call, pair)
    except Exception:
        logger.exception("the second call for output %s could not be made", lease.output_id)
    finally:
        connection.close()


def _another(first: Attempt) -> Road | None:
    """The best road beside the one that is taken, if one is open now."""
    now = datetime.now(UTC)
    output = Output.objects.select_related("generation__price", "generation__image_model").get(pk=first.output_id)
    tried = earlier_attempts([output.pk])[output.pk]
    if unanswered_count(tried) + 2 > routing.MAX_UNKNOWNS:
        # If both went unanswered, it would be more often than an output is worth.
        return None
    with write_transaction():
        road = Map([output], now=now, without=first.channel_id).road(output, tried)
    return road if road.channel is not None and not road.handle and road.source_id is None else None


def _send(lease: Lease, first: Attempt, road: Road, call: Call, pair: Pair) -> None:
    output = Output.objects.select_related("generation__price", "generation__image_model").get(pk=first.output_id)
    with call_for(output, road) as what:
        attempt = attempt_for(output, road, what, lease_number=lease.number, now=datetime.now(UTC))
        attempt.is_hedge = True
        if send_beside(lease, attempt):
            call(lease, Sending(what, attempt), pair)
        else:
            pair.end(with_image=False)
