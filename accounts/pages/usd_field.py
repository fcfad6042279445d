"""A form field for whole cents, typed as dollars."""

from __future__ import annotations

from typing import Any

from django import forms

from accounts.money import NotAnAmount, parse_usd

_MICROS_PER_CENT = 10_000
_LONGEST = 12


class CentsField(forms.CharField):
    """`12.50` or `$12.50` as 1250 cents: digits, a point, at most two decimals."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("widget", forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off"}))
        super().__init__(**options)

    def to_python(self, value: Any) -> Any:
        text = str(super().to_python(value) or "").strip().removeprefix("$")
        if not text:
            return None
        if len(text) > _LONGEST:
            raise forms.ValidationError("That is too much.")
        try:
            micros = parse_usd(text, is_zero_allowed=True)
        except NotAnAmount:
            raise forms.ValidationError("Write dollars as digits, such as 25 or 12.50.") from None
        if micros % _MICROS_PER_CENT:
            raise forms.ValidationError("At most two digits after the point.")
        return micros // _MICROS_PER_CENT
