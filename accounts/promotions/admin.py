"""Codes, which the operator makes, and what was given."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.http import HttpRequest

from accounts.ledger.admin.amounts import UsdField
from accounts.ledger.admin.columns import (
    ReadOnlyAdmin,
    RowAdmin,
    account_filter,
    account_link,
    fixed_filter,
    link,
    usd,
    when,
)
from accounts.ledger.admin.lists import period_filter
from accounts.promotions import codes
from accounts.promotions.models import Redemption, RedemptionCode, SignupCredit


class CodeForm(forms.ModelForm):  # type: ignore[type-arg]
    """A code; the one that is proposed nobody guesses."""

    amount_micros = UsdField(label="Amount (USD)")

    class Meta:
        model = RedemptionCode
        fields = ("code", "mode", "amount_micros", "max_uses", "valid_until", "credit_days", "is_active", "note")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            # What was promised stays as it was.
            del self.fields["amount_micros"]
        else:
            self.initial.setdefault("code", codes.new_code())

    def clean_code(self) -> str:
        code = codes.normalized(self.cleaned_data["code"])
        if len(code) < 4:
            raise forms.ValidationError("At least four letters or digits.")
        return code


@admin.register(RedemptionCode)
class RedemptionCodeAdmin(RowAdmin):
    """Codes: what was redeemed stays, so used codes are switched off instead of deleted."""

    form = CodeForm
    list_display: Any = (
        "code",
        "mode",
        usd("amount_micros", "amount"),
        "use_count",
        "max_uses",
        when("valid_until", "valid until"),
        "is_active",
        "note",
    )
    list_filter = ("mode", "is_active")
    search_fields = ("code", "note")
    ordering = ("-id",)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return ("code", "mode", "amount_usd", "use_count") if obj else ()

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        limits = ("max_uses", "valid_until", "credit_days", "is_active", "note")
        return (
            ("code", "mode", "amount_usd", "use_count", *limits) if obj else ("code", "mode", "amount_micros", *limits)
        )

    @admin.display(description="amount")
    def amount_usd(self, row: RedemptionCode) -> Any:
        return usd("amount_micros", "amount")(row)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_delete_permission(request, obj) and (obj is None or not obj.use_count)

    def save_model(self, request: HttpRequest, obj: RedemptionCode, form: Any, change: bool) -> None:
        if not change:
            obj.created_by = request.user  # type: ignore[assignment]
            obj.save()
        elif form.changed_data:
            # Not the count: somebody may redeem meanwhile.
            obj.save(update_fields=[name for name in form.changed_data if name in CodeForm.Meta.fields])


@admin.display(description="entry", ordering="entry__id")
def _entry(row: Any) -> Any:
    return link("ledger_entry_change", row.entry.pk, row.entry.public_id) if row.entry else "-"


@admin.register(Redemption)
class RedemptionAdmin(ReadOnlyAdmin):
    """Who redeemed which code."""

    list_display: Any = ("id", "code", account_link(), _entry, when("created_at", "redeemed"))
    fields: ClassVar[Any] = list_display
    list_filter = (period_filter(), account_filter())
    list_select_related = ("code", "account", "entry")
    search_fields = ("code__code", "account__name")
    ordering = ("-id",)


@admin.register(SignupCredit)
class SignupCreditAdmin(ReadOnlyAdmin):
    """New accounts' credit, and why some got none."""

    list_display: Any = (
        "id",
        account_link(),
        "state",
        usd("amount_micros", "amount"),
        "mailbox",
        "network",
        "reason",
        "is_capped",
        _entry,
        when("created_at", "confirmed"),
        when("granted_at", "granted"),
    )
    fields: ClassVar[Any] = (*list_display, "domain", "card_fingerprint")
    list_filter = (fixed_filter("state", SignupCredit.State.choices, title="state"), period_filter(), account_filter())
    list_select_related = ("account", "entry")
    search_fields = ("account__name", "mailbox", "network")
    ordering = ("-id",)
