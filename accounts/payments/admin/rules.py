"""Bonus steps, which the operator sets, and the automatic recharges that account owners set."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib import admin

from accounts.ledger.admin.amounts import UsdField
from accounts.ledger.admin.columns import ReadOnlyAdmin, RowAdmin, account_link, usd, when
from accounts.ledger.admin.rows import wallet_mode
from accounts.payments.admin.payments import cents
from accounts.payments.models import AutoRecharge, BonusStep
from accounts.payments.models.payments import MICROS_PER_CENT


class BonusStepForm(forms.ModelForm):  # type: ignore[type-arg]
    """The step's amount in dollars."""

    minimum = UsdField(label="From (USD)")

    class Meta:
        model = BonusStep
        fields = ("percent", "credit_days", "is_active")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            self.initial["minimum"] = self.instance.minimum_cents * MICROS_PER_CENT

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        micros = data.get("minimum")
        if micros:
            self.instance.minimum_cents = micros // MICROS_PER_CENT
        return data

    def validate_unique(self) -> None:
        super().validate_unique()
        others = BonusStep.objects.filter(minimum_cents=self.instance.minimum_cents).exclude(pk=self.instance.pk)
        if self.instance.minimum_cents and others.exists():
            self.add_error("minimum", "There is a step from this amount.")


@admin.register(BonusStep)
class BonusStepAdmin(RowAdmin):
    """What comes on top of a top-up."""

    form = BonusStepForm
    list_display: Any = ("__str__", cents("minimum_cents", "from"), "percent", "credit_days", "is_active")
    fields = ("minimum", "percent", "credit_days", "is_active")


@admin.register(AutoRecharge)
class AutoRechargeAdmin(ReadOnlyAdmin):
    """Who has credit bought automatically, and where it stopped."""

    list_display: Any = (
        "id",
        account_link("wallet.account"),
        wallet_mode,
        "is_enabled",
        usd("threshold_micros", "below"),
        cents("amount_cents", "amount"),
        cents("monthly_ceiling_cents", "a month at most"),
        "method",
        "declines",
        "stopped_because",
        when("next_try_at", "not before"),
    )
    fields: ClassVar[Any] = list_display
    list_filter = ("is_enabled",)
    list_select_related = ("wallet__account",)
    search_fields = ("wallet__account__name",)
    ordering = ("-id",)
