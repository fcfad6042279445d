"""Micro-dollars in the admin: a column as dollars, and a form field that reads and writes dollars."""

from __future__ import annotations

from typing import Any

from django import forms

from accounts.money import NotAnAmount, parse_usd, plain_usd, usd


def dollars(micros: int | None) -> str:
    """As the site's pages write it, "$0.1474"; None is a dash."""
    return "-" if micros is None else usd(micros)


class UsdField(forms.CharField):
    """A form field over a column of micro-dollars, read and written as dollars."""

    def __init__(self, *, is_signed: bool = False, is_zero_allowed: bool = False, **options: Any) -> None:
        self._is_signed = is_signed
        self._is_zero_allowed = is_zero_allowed
        options.setdefault("widget", forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off"}))
        super().__init__(**options)

    def prepare_value(self, value: Any) -> Any:
        """The column's number as a text to edit; what the person typed stays as it was typed."""
        return plain_usd(value) if isinstance(value, int) else value

    def to_python(self, value: Any) -> Any:
        text = super().to_python(value)
        if text in self.empty_values:
            return None
        try:
            return parse_usd(str(text), is_signed=self._is_signed, is_zero_allowed=self._is_zero_allowed)
        except NotAnAmount as error:
            raise forms.ValidationError(str(error)) from error
