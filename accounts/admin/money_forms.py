"""Forms of an account's page that move its money, by accounts.ledger.adjustments and nothing else."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from django import forms

from accounts.ledger import adjustments
from accounts.ledger.admin.amounts import UsdField
from accounts.ledger.models import Entry
from accounts.models import MODES, Account


class GrantForm(forms.Form):
    """Promotional credit for an account."""

    mode = forms.ChoiceField(choices=MODES, help_text="Test credit is play money for the sandbox.")
    amount_micros = UsdField(label="Amount (USD)", help_text="Such as 12.50; up to six decimals.")
    reason = forms.CharField(max_length=500, help_text="Kept with the entry; the account's owner sees it.")
    once = forms.UUIDField(widget=forms.HiddenInput, initial=uuid.uuid4)


class AdjustForm(GrantForm):
    """A correction of a balance, up or down."""

    amount_micros = UsdField(
        label="Amount (USD)",
        is_signed=True,
        help_text="12.50 raises the balance, -12.50 lowers it. Money on hold stays out of reach.",
    )


@dataclass(frozen=True, slots=True)
class Deed:
    """One way to move an account's money by hand."""

    form: type[GrantForm]
    move: Callable[..., Entry]
    title: str
    note: str
    done: str


DEEDS = {
    "grant": Deed(
        GrantForm,
        adjustments.grant,
        "Grant credit",
        "Promotional credit. It is used up before money that was paid in.",
        "Granted",
    ),
    "adjust": Deed(
        AdjustForm,
        adjustments.adjust,
        "Adjust balance",
        "A correction. For credit as a present, grant it instead.",
        "Adjusted by",
    ),
}


def perform(name: str, form: GrantForm, *, account: Account, actor: str, now: datetime) -> Entry | None:
    """Move the money a valid form asks for; None, and the reason as an error of the form, where it is refused.

    The form carries a name of its own, so that sending the same form twice moves the money once.
    """
    data = form.cleaned_data
    once = f"{name}:{data['once']}:{account.pk}:{data['mode']}:{data['amount_micros']}"
    try:
        return DEEDS[name].move(
            account=account,
            mode=data["mode"],
            amount_micros=data["amount_micros"],
            actor=actor,
            reason=data["reason"],
            now=now,
            idempotency_key=once,
        )
    except adjustments.AdjustmentRefused as refusal:
        form.add_error(None, str(refusal))
        return None
