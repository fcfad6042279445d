"""Dollars as people read and write them: integer micro-dollars to decimal text and back, exactly, never by a float."""

from __future__ import annotations

import re
from typing import Any

from django import forms

from accounts.templatetags.money import usd

_MICROS_PER_USD = 1_000_000
_TEXT = re.compile(r"([+-]?)([0-9]{1,9})(?:\.([0-9]{1,6}))?")


class NotAnAmount(ValueError):
    """Why a text is no amount of dollars, in a sentence for the one who typed it."""


def dollars(micros: int | None) -> str:
    """As the site's pages write it, "$0.1474"; None is a dash."""
    return "-" if micros is None else usd(micros)


def _digits(micros: int) -> str:
    """What `parse_usd` reads back: a point, no commas, every digit that counts."""
    whole, rest = divmod(micros, _MICROS_PER_USD)
    return f"{whole}.{f'{rest:06d}'.rstrip('0'):0<2}"


def parse_usd(text: str, *, is_signed: bool = False, is_zero_allowed: bool = False) -> int:
    """ "12.50" -> 12500000 micro-dollars: up to nine digits, a point, up to six decimals. Raises NotAnAmount."""
    match = _TEXT.fullmatch(text.strip())
    if match is None:
        raise NotAnAmount("Write dollars as digits: at most nine before the point and six after it, such as 12.50.")
    sign, whole, rest = match.groups(default="")
    if sign and not is_signed:
        raise NotAnAmount("Write the amount without a sign.")
    micros = int(whole) * _MICROS_PER_USD + int(rest.ljust(6, "0") or 0)
    if not micros and not is_zero_allowed:
        raise NotAnAmount("The amount must not be zero.")
    return -micros if sign == "-" else micros


class UsdField(forms.CharField):
    """A form field over a column of micro-dollars, read and written as dollars."""

    def __init__(self, *, is_signed: bool = False, is_zero_allowed: bool = False, **options: Any) -> None:
        self._is_signed = is_signed
        self._is_zero_allowed = is_zero_allowed
        options.setdefault("widget", forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off"}))
        super().__init__(**options)

    def prepare_value(self, value: Any) -> Any:
        """The column's number as a text to edit; what the person typed stays as it was typed."""
        if not isinstance(value, int):
            return value
        return f"{'-' if value < 0 else ''}{_digits(abs(value))}"

    def to_python(self, value: Any) -> Any:
        text = super().to_python(value)
        if text in self.empty_values:
            return None
        try:
            return parse_usd(str(text), is_signed=self._is_signed, is_zero_allowed=self._is_zero_allowed)
        except NotAnAmount as error:
            raise forms.ValidationError(str(error)) from error
