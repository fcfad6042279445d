"""Form fields over columns that hold lists: one value per line, or boxes to tick."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from typing import Any

from django import forms


class LinesField(forms.CharField):
    """A list of texts, written one per line (commas and spaces part them too)."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("widget", forms.Textarea(attrs={"rows": 4, "cols": 50}))
        super().__init__(**options)

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(str(each) for each in value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        return list(dict.fromkeys(str(super().to_python(value)).replace(",", " ").split()))


class NetworksField(LinesField):
    """A list of addresses and networks."""

    def to_python(self, value: Any) -> Any:
        found = super().to_python(value)
        for each in found:
            try:
                ipaddress.ip_network(each, strict=False)
            except ValueError:
                raise forms.ValidationError(f"{each!r} is neither an address nor a network.") from None
        return found


def boxes(choices: Sequence[tuple[str, str]] | Callable[[], Any], **options: Any) -> forms.MultipleChoiceField:
    """A list of known values, one box each."""
    return forms.MultipleChoiceField(choices=choices, widget=forms.CheckboxSelectMultiple, **options)
