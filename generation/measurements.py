"""What of the road is counted and said: one call for each end of an attempt and of an output.

Labels are names that the operator chose. No prompt, key or account ever becomes one.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from prometheus_client import Counter, Histogram

from accounts import request_context
from accounts.identifiers import public_id

try:
    from opentelemetry import trace
except ImportError:
    trace = None

logger = logging.getLogger(__name__)
_ROAD = ("channel", "model", "mode")

_SECONDS = Histogram(
    "nbp_upstream_seconds",
    "Duration of calls to channels, whatever came of them.",
    ("channel", "model"),
    buckets=(0.5, 1, 2, 5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300),
)
_CALLS = Counter("nbp_upstream_calls", "Ended calls to channels by what came of them.", (*_ROAD, "result"))
_COST = Counter("nbp_cost_micros", "What providers bill for ended calls, in micro-dollars.", _ROAD)
_IMAGES = Counter("nbp_images", "Images delivered.", (*_ROAD, "size"))
_PRICE = Counter("nbp_price_micros", "What was charged for delivered images, in micro-dollars.", _ROAD)
_CACHE = Counter(
    "nbp_cache", "Images of requests that asked for the cache, by what it had for them.", ("mode", "result")
)
_SAVED = Counter("nbp_cache_saved_micros", "What images from the cache had cost, in micro-dollars.", ("mode", "of"))
_ENDED = Counter("nbp_outputs_ended", "Outputs that ended, by state and error code.", ("mode", "state", "code"))
# An alert waits for this one to grow, and a series that is born with its first fault has never grown.
for _mode in ("live", "test"):
    _ENDED.labels(_mode, "failed", "internal_error")


@contextmanager
def calling(*, channel: str, model: str, mode: str) -> Iterator[None]:
    """A span around a call to a channel, where tracing is installed and switched on; else nothing.

    A failure is named by its type alone: its words may be those of a prompt.
    """
    if trace is None:
        yield
        return
    spans = trace.get_tracer("nanobananapro").start_as_current_span(
        "call channel",
        kind=trace.SpanKind.CLIENT,
        attributes={"nbp.channel": channel, "nbp.model": model, "nbp.mode": mode},
        record_exception=False,
        set_status_on_exception=False,
    )
    with spans as span:
        try:
            yield
        except Exception as error:
            span.set_status(trace.StatusCode.ERROR, type(error).__name__)
            raise


def attempt_ended(
    *,
    output_id: uuid.UUID,
    number: int,
    channel: str,
    model: str,
    mode: str,
    result: str,
    seconds: float,
    cost_micros: int,
) -> None:
    """A call has ended and its row says so. `result` is ok, refused, no_image, or the kind of error."""
    _SECONDS.labels(channel, model).observe(seconds)
    _CALLS.labels(channel, model, mode, result).inc()
    _COST.labels(channel, model, mode).inc(cost_micros)
    facts = {
        "channel": channel,
        "model": model,
        "mode": mode,
        "result": result,
        "milliseconds": round(seconds * 1000),
        "cost_micros": cost_micros,
    }
    with request_context.working_on(output=public_id("out", output_id), attempt=str(number)):
        logger.info("attempt %d on %s: %s after %.1f s", number, channel, result, seconds, extra={"facts": facts})


def output_delivered(
    *,
    output_id: uuid.UUID,
    generation_id: uuid.UUID,
    channel: str,
    model: str,
    mode: str,
    size: str,
    price_micros: int,
    cache: str,
    saved_price_micros: int,
    saved_cost_micros: int,
) -> None:
    """An image is its output's and was charged, and the transaction that says so is committed."""
    _IMAGES.labels(channel, model, mode, size).inc()
    _PRICE.labels(channel, model, mode).inc(price_micros)
    _ENDED.labels(mode, "succeeded", "").inc()
    if cache:
        _CACHE.labels(mode, cache).inc()
        _SAVED.labels(mode, "price").inc(saved_price_micros)
        _SAVED.labels(mode, "cost").inc(saved_cost_micros)
    facts = {"channel": channel, "model": model, "mode": mode, "size": size, "price_micros": price_micros}
    with _about(generation_id, output_id):
        logger.info("delivered for %d micro-dollars", price_micros, extra={"facts": facts})


def output_ended(*, output_id: uuid.UUID, generation_id: uuid.UUID, mode: str, state: str, code: str) -> None:
    """An output failed or was canceled, for free, and the transaction that says so is committed."""
    _ENDED.labels(mode, state, code).inc()
    with _about(generation_id, output_id):
        logger.info("%s: %s", state, code, extra={"facts": {"mode": mode, "state": state, "code": code}})


def _about(generation_id: uuid.UUID, output_id: uuid.UUID) -> AbstractContextManager[None]:
    """The names of one output: settlements of several share a transaction, and with it a thread."""
    return request_context.working_on(generation=public_id("gen", generation_id), output=public_id("out", output_id))
