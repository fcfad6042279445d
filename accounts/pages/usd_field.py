"""A form field for whole cents, typed as dollars."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django import forms


class CentsField(forms.DecimalField):
    """`12.50` as 1250 cents; at most two decimals."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("min_value", Decimal(0))
        super().__init__(max_digits=9, decimal_places=2, **options)

    def clean(self, value: Any) -> Any:
        amount = super().clean(value)
        return int(amount * 100) if isinstance(amount, Decimal) else None
