"""Micro-dollars as a reader sees them. Integers only: a float never comes near money."""

from __future__ import annotations

from typing import Literal

from django import template

register = template.Library()

_MILLION = 1_000_000


@register.filter
def usd(micros: int | Literal[""] | None) -> str:
    """`147400` as `$0.1474`, `10000000` as `$10.00`: two decimals, or four, or as many as it has. Never rounded."""
    if micros is None or micros == "":
        return ""
    dollars, rest = divmod(abs(micros), _MILLION)
    digits = f"{rest:06d}".rstrip("0")
    digits = digits.ljust(2 if len(digits) <= 2 else 4, "0")
    return f"{'-' if micros < 0 else ''}${dollars:,}.{digits}"


@register.filter
def signed_usd(micros: int) -> str:
    """The same with its sign in front, for a line of a statement."""
    return f"+{usd(micros)}" if micros > 0 else usd(micros)
