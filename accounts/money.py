"""Dollars as people read and write them: integer micro-dollars to text and back, exactly, never by a float."""

from __future__ import annotations

import re

MICROS_PER_USD = 1_000_000
_TEXT = re.compile(r"([+-]?)([0-9]{1,9})(?:\.([0-9]{1,6}))?")


class NotAnAmount(ValueError):
    """Why a text is no amount of dollars, in a sentence for the one who typed it."""


def usd(micros: int) -> str:
    """`147400` as `$0.1474`, `10000000` as `$10.00`: two decimals, or four, or as many as it has. Never rounded."""
    dollars, rest = divmod(abs(micros), MICROS_PER_USD)
    digits = f"{rest:06d}".rstrip("0")
    digits = digits.ljust(2 if len(digits) <= 2 else 4, "0")
    return f"{'-' if micros < 0 else ''}${dollars:,}.{digits}"


def plain_usd(micros: int) -> str:
    """What `parse_usd` reads back: `12.50`, with a point, without commas, with every digit that counts."""
    whole, rest = divmod(abs(micros), MICROS_PER_USD)
    return f"{'-' if micros < 0 else ''}{whole}.{f'{rest:06d}'.rstrip('0'):0<2}"


def parse_usd(text: str, *, is_signed: bool = False, is_zero_allowed: bool = False) -> int:
    """`12.50` as 12500000 micro-dollars: up to nine digits, a point, up to six decimals. Raises NotAnAmount."""
    match = _TEXT.fullmatch(text.strip())
    if match is None:
        raise NotAnAmount("Write dollars as digits: at most nine before the point and six after it, such as 12.50.")
    sign, whole, rest = match.groups(default="")
    if sign and not is_signed:
        raise NotAnAmount("Write the amount without a sign.")
    micros = int(whole) * MICROS_PER_USD + int(rest.ljust(6, "0") or 0)
    if not micros and not is_zero_allowed:
        raise NotAnAmount("The amount must not be zero.")
    return -micros if sign == "-" else micros
