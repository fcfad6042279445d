"""The form for a new API key: text in, the limits of `keys.issue` out."""

from __future__ import annotations

import ipaddress
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from django import forms
from django.http import QueryDict

from accounts.models import MODES, ApiKey
from accounts.money import MICROS_PER_USD

_MAX_ENTRIES = 50
_SIZES = [("", "Any size"), ("1K", "1K"), ("2K", "2K at most"), ("4K", "4K at most")]


class KeyForm(forms.Form):
    """What a new key is called and how far it reaches. Empty limits are no limits of the key's own."""

    name = forms.CharField(max_length=100, help_text="Where you will use it, so that you know it again.")
    mode = forms.ChoiceField(choices=MODES, help_text="Test keys draw on the sandbox and spend play money.")
    budget = forms.DecimalField(
        label="Budget in USD",
        required=False,
        min_value=Decimal(0),
        max_digits=12,
        decimal_places=6,
        help_text="A hard cap: a request that does not fit is refused. Empty = only the wallet is the limit.",
    )
    budget_period = forms.ChoiceField(
        label="Budget period",
        choices=[("monthly", "a month"), ("weekly", "a week"), ("daily", "a day"), ("none", "in all, never resets")],
        required=False,
        help_text="Periods begin at 00:00 UTC.",
    )
    expires_on = forms.DateField(
        label="Last day",
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
        help_text="Works until the end of that day, UTC.",
    )
    requests_per_minute = forms.IntegerField(required=False, min_value=1, max_value=100_000)
    concurrency = forms.IntegerField(label="Unfinished images at once", required=False, min_value=1, max_value=100_000)
    max_image_size = forms.ChoiceField(label="Largest size", choices=_SIZES, required=False)
    are_images_inline = forms.BooleanField(
        label="Links in the text of chats",
        required=False,
        help_text="For clients that show nothing of an answer but its text.",
    )
    ip_list = forms.CharField(
        label="Addresses it may be used from",
        required=False,
        max_length=4000,
        widget=forms.Textarea(attrs={"rows": 3, "placeholder": "203.0.113.7\n2001:db8::/32"}),
        help_text="One address or network a line. Empty = anywhere.",
    )

    def __init__(self, data: QueryDict | None = None, **kwargs: Any) -> None:
        super().__init__(data, **kwargs)
        # Accounts know no catalogue: the template offers the models, the list of names is all that is kept.
        names = data.getlist("allowed_models") if data is not None else []
        self.allowed_models = [name for name in names if 0 < len(name) <= 80][:_MAX_ENTRIES]

    def clean(self) -> dict[str, Any]:
        if any("\x00" in name for name in self.allowed_models):
            raise forms.ValidationError("Choose models from the list.")
        return super().clean() or self.cleaned_data

    def clean_expires_on(self) -> date | None:
        day: date | None = self.cleaned_data["expires_on"]
        if day is not None and day < datetime.now(UTC).date():
            raise forms.ValidationError("That day is over.")
        if day == date.max:
            raise forms.ValidationError("Choose an earlier day, or none.")
        return day

    def clean_ip_list(self) -> list[str]:
        lines = [line.strip() for line in self.cleaned_data["ip_list"].replace(",", "\n").splitlines()]
        entries = [line for line in lines if line]
        for entry in entries:
            try:
                ipaddress.ip_network(entry, strict=False)
            except ValueError:
                raise forms.ValidationError(f"{entry[:60]!r} is not an address or a network.") from None
        if len(entries) > _MAX_ENTRIES:
            raise forms.ValidationError(f"At most {_MAX_ENTRIES} entries.")
        return entries

    def has_more_limits(self) -> bool:
        """Whether something stands under "More limits", so that it must not be folded away."""
        names = ("expires_on", "requests_per_minute", "concurrency", "max_image_size", "are_images_inline", "ip_list")
        return bool(self.allowed_models) or any(self[name].value() or self[name].errors for name in names)

    def limits(self) -> dict[str, Any]:
        """The checked form as the limits of `keys.issue`."""
        data = self.cleaned_data
        budget, last_day = data["budget"], data["expires_on"]
        after = datetime.combine(last_day + timedelta(days=1), time(), UTC) if last_day else None
        return {
            "budget_micros": int(budget * MICROS_PER_USD) if budget is not None else None,
            "budget_period": data["budget_period"] if budget is not None else ApiKey.Period.NONE,
            "expires_at": after,
            "requests_per_minute": data["requests_per_minute"],
            "concurrency": data["concurrency"],
            "max_image_size": data["max_image_size"],
            "are_images_inline": data["are_images_inline"],
            "allowed_models": self.allowed_models,
            "ip_list": data["ip_list"],
        }
