"""The pages of wallets, entries, holds, lots and budgets."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts.ledger.admin.columns import (
    ReadOnlyAdmin,
    account_filter,
    account_link,
    fixed_filter,
    link,
    mode_filter,
    usd,
    when,
)
from accounts.ledger.admin.lists import period_filter
from accounts.ledger.models import BudgetPeriod, Entry, Hold, Lot, LotUse, SpendingPeriod, Wallet

_HOLD_STATES = [(state, state) for state in ("open", "captured", "released")]


@admin.display(description="mode", ordering="wallet__mode")
def wallet_mode(row: Any) -> str:
    """The mode of the wallet a row belongs to."""
    return str(row.wallet.mode)


@admin.display(description="entry", ordering="entry__id")
def _entry(row: Any) -> Any:
    return link("ledger_entry_change", row.entry.pk, f"{row.entry.public_id} ({row.entry.kind})")


@admin.register(Wallet)
class WalletAdmin(ReadOnlyAdmin):
    """What an account may spend, by mode."""

    list_display = (
        "id",
        account_link(),
        "mode",
        usd("available_micros", "available"),
        usd("held_micros", "on hold"),
        usd("debt_micros", "debt"),
        "status",
        "head_sequence",
    )
    fields: ClassVar[Any] = (
        *list_display[1:],
        usd("monthly_limit_micros", "spending limit"),
        usd("low_balance_micros", "told below"),
        "currency",
        "created_at",
    )
    list_filter = ("mode", "status", account_filter())
    list_select_related = ("account",)
    search_fields = ("account__name", "account__members__email")
    ordering = ("-id",)
    actions = ("freeze", "thaw")

    @admin.action(description="Freeze: start nothing new", permissions=["move"])
    def freeze(self, request: HttpRequest, queryset: QuerySet[Wallet]) -> None:
        self._set_status(request, queryset, Wallet.Status.ACTIVE, Wallet.Status.FROZEN)

    @admin.action(description="Thaw: let it spend again", permissions=["move"])
    def thaw(self, request: HttpRequest, queryset: QuerySet[Wallet]) -> None:
        self._set_status(request, queryset, Wallet.Status.FROZEN, Wallet.Status.ACTIVE)

    def has_move_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(f"ledger.add_{Entry._meta.model_name}")

    def _set_status(self, request: HttpRequest, queryset: QuerySet[Wallet], before: str, after: str) -> None:
        changed = list(queryset.filter(status=before))
        Wallet.objects.filter(pk__in=[each.pk for each in changed], status=before).update(status=after)
        for wallet in changed:
            self.log_change(request, wallet, f"{before} -> {after}")
        self.message_user(request, f"{len(changed)} wallets are {after} now.", messages.SUCCESS)


@admin.register(Entry)
class EntryAdmin(ReadOnlyAdmin):
    """The journal."""

    list_display: Any = (
        "public_id",
        when("created_at", "created"),
        account_link("wallet.account"),
        wallet_mode,
        "kind",
        usd("amount_micros", "amount"),
        usd("available_after_micros", "available after"),
        usd("held_after_micros", "on hold after"),
        "actor",
        "reason",
    )
    fields: ClassVar[Any] = (
        *list_display,
        usd("debt_after_micros", "debt after"),
        "sequence",
        "source",
        "destination",
        "hold",
        "idempotency_key",
    )
    list_filter = (mode_filter("wallet__mode"), "kind", period_filter(), account_filter("wallet__account"))
    list_select_related = ("wallet__account", "hold")
    search_fields = ("wallet__account__name", "actor", "reason", "idempotency_key")
    ordering = ("-id",)


@admin.register(Hold)
class HoldAdmin(ReadOnlyAdmin):
    """Money set aside for outputs."""

    list_display: Any = (
        "id",
        when("created_at", "created"),
        account_link("wallet.account"),
        wallet_mode,
        "state",
        usd("authorized_micros", "authorized"),
        usd("captured_micros", "captured"),
        usd("released_micros", "released"),
        when("settled_at", "settled"),
    )
    fields: ClassVar[Any] = (*list_display, "output_id", "budget_period")
    list_filter = (
        mode_filter("wallet__mode"),
        fixed_filter("state", _HOLD_STATES, title="state"),
        period_filter(),
        account_filter("wallet__account"),
    )
    list_select_related = ("wallet__account",)
    search_fields = ("wallet__account__name",)
    ordering = ("-id",)


@admin.register(Lot)
class LotAdmin(ReadOnlyAdmin):
    """Money that came in together, and what is left of it."""

    list_display = (
        "id",
        when("created_at", "created"),
        account_link("wallet.account"),
        wallet_mode,
        "kind",
        usd("granted_micros", "granted"),
        usd("remaining_micros", "left"),
        when("expires_at", "expires"),
        _entry,
    )
    fields: ClassVar[Any] = (*list_display, "priority")
    list_filter = (mode_filter("wallet__mode"), "kind", period_filter(), account_filter("wallet__account"))
    list_select_related = ("wallet__account", "entry")
    search_fields = ("wallet__account__name",)
    ordering = ("-id",)


@admin.display(description="mode", ordering="lot__wallet__mode")
def _lot_mode(row: LotUse) -> str:
    return row.lot.wallet.mode


@admin.display(description="when", ordering="entry__id")
def _used_at(row: LotUse) -> Any:
    return row.entry.created_at


@admin.register(LotUse)
class LotUseAdmin(ReadOnlyAdmin):
    """Which entry used up which lot."""

    list_display = (
        "id",
        _used_at,
        account_link("lot.wallet.account"),
        _lot_mode,
        "lot",
        _entry,
        usd("amount_micros", "amount"),
    )
    fields: ClassVar[Any] = list_display
    list_filter = (
        mode_filter("lot__wallet__mode"),
        period_filter("entry__created_at"),
        account_filter("lot__wallet__account"),
    )
    list_select_related = ("lot__wallet__account", "entry")
    search_fields = ("lot__wallet__account__name",)
    ordering = ("-id",)


@admin.register(SpendingPeriod)
class SpendingPeriodAdmin(ReadOnlyAdmin):
    """What accounts with a monthly limit reserved and spent."""

    list_display = (
        "id",
        account_link("wallet.account"),
        wallet_mode,
        "starts_at",
        usd("reserved_micros", "reserved"),
        usd("spent_micros", "spent"),
    )
    fields: ClassVar[Any] = list_display
    list_filter = (mode_filter("wallet__mode"), "starts_at", account_filter("wallet__account"))
    list_select_related = ("wallet__account",)
    search_fields = ("wallet__account__name",)
    ordering = ("-id",)


@admin.register(BudgetPeriod)
class BudgetPeriodAdmin(ReadOnlyAdmin):
    """What keys reserved and spent of their budgets."""

    list_display = (
        "id",
        "api_key",
        account_link("api_key.account"),
        "starts_at",
        usd("limit_micros", "limit"),
        usd("reserved_micros", "reserved"),
        usd("spent_micros", "spent"),
    )
    fields: ClassVar[Any] = list_display
    list_filter = (mode_filter("api_key__mode"), "starts_at", account_filter("api_key__account"))
    list_select_related = ("api_key__account",)
    search_fields = ("api_key__name", "api_key__key_id", "api_key__account__name")
    ordering = ("-id",)
