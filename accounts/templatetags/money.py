"""Micro-dollars in templates."""

from __future__ import annotations

from typing import Literal

from django import template

from accounts import money

register = template.Library()


@register.filter
def usd(micros: int | Literal[""] | None) -> str:
    """`147400` as `$0.1474`; nothing as nothing."""
    return "" if micros is None or micros == "" else money.usd(micros)


@register.filter
def signed_usd(micros: int) -> str:
    """The same with its sign in front, for a line of a statement."""
    return f"+{money.usd(micros)}" if micros > 0 else money.usd(micros)


@register.filter
def cents(value: int) -> str:
    """`1250` as `$12.50`."""
    return money.usd(int(value) * 10_000)
