"""The forms of the billing page."""

from __future__ import annotations

from typing import Any

from django import forms

from accounts.models import MODES
from accounts.pages.usd_field import CentsField
from accounts.payments import terms


class TopUpForm(forms.Form):
    """How much, and whether the card is kept. A typed amount comes before a chosen one."""

    amount = forms.IntegerField(required=False)
    other = CentsField(label="Another amount in USD", required=False)
    is_card_saved = forms.BooleanField(
        label="Keep the card for automatic recharge",
        required=False,
        help_text="Stripe keeps it, not this site. You can remove it under cards and invoices.",
    )

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        cents = data.get("amount") if data.get("other") is None else data["other"]
        if not self.errors:
            try:
                terms.check_amount(cents or 0)
            except terms.TopUpRefused as refusal:
                raise forms.ValidationError(str(refusal)) from None
        return data | {"cents": cents}


class AutoRechargeForm(forms.Form):
    """When to recharge, by how much, and how much a month at most."""

    is_enabled = forms.BooleanField(label="Recharge automatically", required=False)
    threshold = CentsField(label="When the balance falls below (USD)")
    amount = CentsField(label="Buy credit for (USD)")
    ceiling = CentsField(label="At most a month (USD)")


class RefundForm(forms.Form):
    """Which payment goes back; the form carries a name, so that sending it twice refunds once."""

    once = forms.UUIDField()


class RedeemForm(forms.Form):
    """A code that somebody was given."""

    code = forms.CharField(max_length=60)


class LimitsForm(forms.Form):
    """What one wallet may spend a month, and when its owners are told. Empty = no limit, no mail."""

    mode = forms.ChoiceField(choices=MODES)
    monthly_limit = CentsField(required=False)
    low_balance = CentsField(required=False)
