"""API keys: issued, limited, paused, rotated and revoked. A key is shown once, on the page after it was made."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html

from accounts import keys
from accounts.admin.fields import LinesField, NetworksField, boxes
from accounts.identifiers import parse_public_id
from accounts.ledger import budgets, queries
from accounts.ledger.admin.amounts import UsdField, dollars
from accounts.ledger.admin.columns import RowAdmin, account_filter, account_link, usd, when
from accounts.models import ApiKey
from accounts.transactions import write_transaction

_SIZES = [("", "no limit"), ("1K", "1K"), ("2K", "2K"), ("4K", "4K")]
_FIXED = (
    "public_id",
    "prefix",
    "created_by",
    "created_at",
    "last_used_at",
    "disabled_at",
    "revoked_at",
    "rotated_from",
)


class ApiKeyForm(forms.ModelForm):  # type: ignore[type-arg]
    """A key's name and limits."""

    scopes = boxes([(scope, scope) for scope in keys.SCOPES], initial=list(keys.SCOPES))
    budget_micros = UsdField(
        label="Budget (USD)", required=False, is_zero_allowed=True, help_text="Empty = only the wallet limits it."
    )
    max_image_size = forms.ChoiceField(choices=_SIZES, required=False)
    allowed_models = LinesField(required=False, help_text="Catalogue names, one per line; empty = all.")
    ip_list = NetworksField(required=False, help_text="Addresses or networks, one per line; empty = anywhere.")

    class Meta:
        model = ApiKey
        fields = ("account", "name", "mode", "scopes", "budget_period", "expires_at", *keys.LIMITS, "routing")

    def clean_routing(self) -> dict[str, Any]:
        found = self.cleaned_data["routing"] or {}
        if not isinstance(found, dict) or not all(
            name in keys.ROUTING and type(value) is keys.ROUTING[name] for name, value in found.items()
        ):
            raise forms.ValidationError(f'Write {{"order": ["a channel"]}}; the fields are {", ".join(keys.ROUTING)}.')
        return found


class StateFilter(admin.SimpleListFilter):
    """Keys by what they are good for."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(state, state) for state in ("active", "disabled", "expired", "revoked")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> QuerySet[ApiKey]:
        is_expired = Q(expires_at__lte=timezone.now())
        states = {
            "active": Q(revoked_at=None, disabled_at=None) & ~is_expired,
            "disabled": Q(revoked_at=None, disabled_at__isnull=False),
            "expired": Q(revoked_at=None) & is_expired,
            "revoked": Q(revoked_at__isnull=False),
        }
        return queryset.filter(states.get(self.value() or "", Q()))


@admin.display(description="state")
def _state(row: ApiKey) -> str:
    if row.revoked_at:
        return "revoked"
    if row.expires_at and row.expires_at <= timezone.now():
        return "expired"
    return "disabled" if row.disabled_at else "active"


@admin.display(description="budget used")
def _budget_used(row: ApiKey) -> str:
    found = queries.budget_of(row, now=timezone.now())
    if found is None:
        return "nothing yet" if row.budget_micros is not None else "no budget"
    return f"{dollars(found.spent_micros)} spent, {dollars(found.reserved_micros)} reserved"


@admin.register(ApiKey)
class ApiKeyAdmin(RowAdmin):
    """Keys are revoked, never deleted: charges point to them."""

    form = ApiKeyForm
    list_display = (
        "name",
        "prefix",
        account_link(),
        "mode",
        _state,
        usd("budget_micros", "budget"),
        "budget_period",
        when("created_at", "created"),
        when("last_used_at", "last used"),
        when("expires_at", "expires"),
    )
    list_filter = ("mode", StateFilter, "created_at", account_filter())
    list_select_related = ("account",)
    search_fields = ("name", "key_id", "account__name", "account__members__email")
    search_help_text = "Name, the letters after nbp_live_ or nbp_test_, account, e-mail of a member, or key_..."
    ordering = ("-id",)
    raw_id_fields = ("account",)
    actions = ("disable", "enable", "rotate", "revoke")

    def get_fieldsets(self, request: HttpRequest, obj: ApiKey | None = None) -> Any:
        who = ("account", "name", "mode", "scopes", "expires_at")
        limits = ("budget_period", *keys.LIMITS)
        if obj is None:
            return ((None, {"fields": who}), ("Limits of the key's own", {"fields": limits}))
        return (
            (None, {"fields": (_state, *who, *_FIXED)}),
            ("Limits of the key's own", {"fields": (_budget_used, *limits)}),
        )

    def get_readonly_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> Any:
        return (_state, _budget_used, *_FIXED, "account", "mode", "budget_period") if obj else ()

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        field = super().formfield_for_foreignkey(db_field, request, **kwargs)
        if db_field.name == "account" and field is not None:
            field.help_text = "Open the list behind the glass to choose one."
        return field

    def has_change_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        return super().has_change_permission(request, obj) and (obj is None or obj.revoked_at is None)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[ApiKey], search_term: str) -> Any:
        key_id = parse_public_id("key", search_term.strip())
        if key_id is not None:
            return queryset.filter(pk=key_id), False
        return super().get_search_results(request, queryset, search_term)

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:
        if not change:
            self._issue(request, obj, form.cleaned_data)
            return
        # Only what the form changed: use, revocation and rotation write this row meanwhile.
        obj.save(update_fields=[name for name in form.changed_data if name != "budget_micros"])
        if "budget_micros" in form.changed_data:
            budgets.change(obj, budget_micros=form.cleaned_data["budget_micros"], now=timezone.now())

    def _issue(self, request: HttpRequest, obj: ApiKey, data: dict[str, Any]) -> None:
        issued = keys.issue(id=obj.pk, created_by=request.user, **data)  # type: ignore[arg-type]
        obj.key_id, obj.key_hash = issued.api_key.key_id, issued.api_key.key_hash
        self._show(request, issued)

    def _show(self, request: HttpRequest, issued: keys.IssuedKey) -> None:
        """Put the raw key into a message: it travels in a cookie to the next page and is kept nowhere."""
        text = format_html("The new key, shown this once - copy it now: <code>{}</code>", issued.raw)
        self.message_user(request, text, messages.WARNING)

    @admin.action(description="Disable for now", permissions=["change"])
    def disable(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        for each in queryset:
            keys.disable(each, now=timezone.now())
            self.log_change(request, each, "disabled")

    @admin.action(description="Enable again", permissions=["change"])
    def enable(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        for each in queryset:
            keys.enable(each)
            self.log_change(request, each, "enabled")

    @admin.action(description="Revoke for good", permissions=["change"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        for each in queryset:
            keys.revoke(each, now=timezone.now())
            self.log_change(request, each, "revoked")

    @admin.action(description="Rotate: a new key, the old one ends in 24 hours", permissions=["change", "add"])
    def rotate(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        chosen = list(queryset[:2])
        if len(chosen) != 1 or _state(chosen[0]) in ("revoked", "expired"):
            self.message_user(request, "Choose one key that is neither revoked nor expired.", messages.ERROR)
            return
        with write_transaction():
            issued = keys.rotate(chosen[0], now=timezone.now(), created_by=request.user)  # type: ignore[arg-type]
        self.log_change(request, chosen[0], f"rotated to {issued.api_key.prefix}")
        self._show(request, issued)
