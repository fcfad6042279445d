"""What of the road is counted and said: one call for each end of an attempt and of an output.

Labels are names that the operator chose. No prompt, key or account ever becomes one.
"""

from __future__ import annotations

import logging
import uuid

from prometheus_client import Counter, Histogram

from accounts.identifiers import public_id

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
_ENDED = Counter("nbp_outputs_ended", "Outputs that ended, by state and error code.", ("mode", "state", "code"))


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
        "output": public_id("out", output_id),
        "attempt": str(number),
        "channel": channel,
        "model": model,
        "mode": mode,
        "result": result,
        "milliseconds": round(seconds * 1000),
        "cost_micros": cost_micros,
    }
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
) -> None:
    """An image is its output's and was charged, and the transaction that says so is committed."""
    _IMAGES.labels(channel, model, mode, size).inc()
    _PRICE.labels(channel, model, mode).inc(price_micros)
    _ENDED.labels(mode, "succeeded", "").inc()
    facts = {
        "generation": public_id("gen", generation_id),
        "output": public_id("out", output_id),
        "channel": channel,
        "model": model,
        "mode": mode,
        "size": size,
        "price_micros": price_micros,
    }
    logger.info("delivered for %d micro-dollars", price_micros, extra={"facts": facts})


def output_ended(*, output_id: uuid.UUID, generation_id: uuid.UUID, mode: str, state: str, code: str) -> None:
    """An output failed or was canceled, for free, and the transaction that says so is committed."""
    _ENDED.labels(mode, state, code).inc()
    facts = {
        "generation": public_id("gen", generation_id),
        "output": public_id("out", output_id),
        "mode": mode,
        "state": state,
        "code": code,
    }
    logger.info("%s: %s", state, code, extra={"facts": facts})
