"""What an upstream says that a call costs, or what money is left with it, in whole micros."""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, InvalidOperation
from typing import Any

_MICROS_PER_DOLLAR = 1_000_000
_MOST_MICROS = 10**12


def micros(value: Any, *, micros_per_unit: int = _MICROS_PER_DOLLAR) -> int | None:
    """A cost in dollars (or credits of so many micros), a JSON number or a text; None for what is none."""
    exact = _exact(value, micros_per_unit)
    return int(exact.to_integral_value(ROUND_CEILING)) if exact is not None and exact >= 0 else None


def balance_micros(value: Any, *, micros_per_unit: int = _MICROS_PER_DOLLAR) -> int | None:
    """The same of a balance, which can be below zero."""
    exact = _exact(value, micros_per_unit)
    return int(exact.to_integral_value(ROUND_FLOOR)) if exact is not None else None


def _exact(value: Any, micros_per_unit: int) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        exact = Decimal(str(value)) * micros_per_unit
    except InvalidOperation:
        return None
    return exact if exact.is_finite() and abs(exact) < _MOST_MICROS else None
