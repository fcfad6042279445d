"""What upstreams say that a call costs, in micro-dollars."""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal, InvalidOperation
from typing import Any

_MOST_MICROS = 10**12


def micros(value: Any, *, micros_per_unit: int = 1_000_000) -> int | None:
    """A cost in dollars (or credits of so many micros), a JSON number or a text; None for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        exact = Decimal(str(value)) * micros_per_unit
    except InvalidOperation:
        return None
    if not exact.is_finite() or not 0 <= exact < _MOST_MICROS:
        return None
    return int(exact.to_integral_value(ROUND_CEILING))
