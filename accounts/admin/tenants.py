"""Accounts: who belongs to them, what they have, and what the operator may do to them."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.safestring import SafeString

from accounts import registration
from accounts.admin.money_forms import DEEDS, perform
from accounts.identifiers import parse_public_id, public_id
from accounts.ledger.admin.amounts import dollars
from accounts.ledger.admin.columns import ReadOnlyInline, RowAdmin, RowInline, link, usd, when
from accounts.ledger.admin.form_pages import form_page
from accounts.ledger.models import Entry, Wallet
from accounts.models import Account, ApiKey, Membership, User


class OpenAccountForm(forms.Form):
    """What a new account needs."""

    name = forms.CharField(max_length=200)
    owner_email = forms.EmailField(required=False, help_text="A user who exists; empty = nobody yet.")

    def clean_owner_email(self) -> User | None:
        email = self.cleaned_data["owner_email"]
        owner = User.objects.filter(email__iexact=email).first() if email else None
        if email and owner is None:
            raise forms.ValidationError("There is no user with this address. Add the user first.")
        return owner


class MembershipInline(RowInline):
    """The people of an account."""

    model = Membership
    extra = 0
    raw_id_fields = ("user",)
    fields = ("user", "role", "created_at")
    readonly_fields = ("created_at",)


@admin.display(description="mode")
def _wallet_mode(row: Wallet) -> SafeString:
    return link("ledger_wallet_change", row.pk, row.mode)


class WalletInline(ReadOnlyInline):
    """The account's money."""

    model = Wallet
    fields: ClassVar[Any] = (
        _wallet_mode,
        usd("available_micros", "available"),
        usd("held_micros", "on hold"),
        usd("debt_micros", "debt"),
        "status",
    )


@admin.display(description="key")
def _prefix(row: ApiKey) -> SafeString:
    return link("accounts_apikey_change", row.pk, row.prefix)


class ApiKeyInline(ReadOnlyInline):
    """The account's keys, without their secrets."""

    model = ApiKey
    verbose_name_plural = "API keys"
    fields: ClassVar[Any] = (
        _prefix,
        "name",
        usd("budget_micros", "budget"),
        when("created_at", "created"),
        when("last_used_at", "last used"),
        when("expires_at", "expires"),
        when("disabled_at", "disabled"),
        when("revoked_at", "revoked"),
    )


def _available(mode: str) -> Subquery:
    return Subquery(Wallet.objects.filter(account=OuterRef("pk"), mode=mode).values("available_micros")[:1])


@admin.register(Account)
class AccountAdmin(RowAdmin):
    """Accounts are opened and suspended, never deleted: they own money."""

    list_display: Any = (
        "name",
        "public_id",
        "status",
        usd("live_micros", "live balance"),
        usd("test_micros", "test balance"),
        when("created_at", "created"),
    )
    list_filter = ("status", "created_at")
    search_fields = ("name", "members__email")
    search_help_text = "Name, e-mail of a member, or acc_..."
    ordering = ("-id",)
    fields = ("public_id", "name", "status", "running_cap", "queue_cap", "created_at")
    readonly_fields = ("public_id", "status", "created_at")
    inlines = (MembershipInline, WalletInline, ApiKeyInline)
    actions = ("suspend", "reactivate")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Account]:
        rows: QuerySet[Account] = super().get_queryset(request)
        return rows.annotate(live_micros=_available("live"), test_micros=_available("test"))

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[Account], search_term: str) -> Any:
        account_id = parse_public_id("acc", search_term.strip())
        if account_id is not None:
            return queryset.filter(pk=account_id), False
        return super().get_search_results(request, queryset, search_term)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Account, form: Any, change: bool) -> None:
        obj.save(update_fields=form.changed_data)

    # Opening an account is a durable transaction of its own; the stock view would wrap it in another.
    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = OpenAccountForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            account = registration.open_account(
                name=form.cleaned_data["name"], owner=form.cleaned_data["owner_email"], now=timezone.now()
            )
            self.log_addition(request, account, [{"added": {}}])
            self.message_user(request, f"Account {account.public_id} is open.", messages.SUCCESS)
            return HttpResponseRedirect(reverse("admin:accounts_account_change", args=[account.pk]))
        return form_page(request, self, form, title="Open an account", submit="Open")

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        context = {"is_money_movable": self._may_move_money(request), "links": self.links_of(object_id)}
        return super().change_view(request, object_id, form_url, context | (extra_context or {}))

    #: Lists of the account's rows: name of the admin page -> text of the link.
    lists: ClassVar[dict[str, str]] = {"accounts_apikey": "API keys", "ledger_entry": "Entries"}

    def links_of(self, object_id: str) -> list[dict[str, str]]:
        """Links to the lists of what the account has."""
        try:
            query = f"?account={public_id('acc', uuid.UUID(object_id))}"
        except ValueError:
            return []
        return [{"url": reverse(f"admin:{name}_changelist") + query, "text": text} for name, text in self.lists.items()]

    def get_urls(self) -> list[URLPattern]:
        own = [
            path(
                f"<uuid:account_id>/{name}/",
                self.admin_site.admin_view(self.money_view),
                {"deed": name},
                name=f"accounts_account_{name}",
            )
            for name in DEEDS
        ]
        return [*own, *super().get_urls()]

    def _may_move_money(self, request: HttpRequest) -> bool:
        return request.user.has_perm(f"ledger.add_{Entry._meta.model_name}")

    def money_view(self, request: HttpRequest, account_id: Any, deed: str) -> HttpResponse:
        """The form page of a grant or an adjustment."""
        if not self._may_move_money(request):
            raise PermissionDenied
        account = get_object_or_404(Account, pk=account_id)
        form = DEEDS[deed].form(request.POST or None)
        if request.method == "POST" and form.is_valid() and self._move(request, deed, form, account):
            return HttpResponseRedirect(reverse("admin:accounts_account_change", args=[account.pk]))
        title = f"{DEEDS[deed].title}: {account.name}"
        return form_page(request, self, form, title=title, submit=DEEDS[deed].title, row=account, note=DEEDS[deed].note)

    def _move(self, request: HttpRequest, deed: str, form: Any, account: Account) -> bool:
        now = timezone.now()
        entry = perform(deed, form, account=account, actor=request.user.email, now=now)  # type: ignore[union-attr]
        if entry is None:
            return False
        if entry.created_at != now:
            self.message_user(request, f"This form was sent before; {entry.public_id} stands.", messages.WARNING)
            return True
        told = f"{DEEDS[deed].done} {dollars(form.cleaned_data['amount_micros'])} ({form.cleaned_data['mode']})."
        self.log_change(request, account, f"{told} {form.cleaned_data['reason']}")
        self.message_user(request, f"{told} {entry.public_id}", messages.SUCCESS)
        return True

    @admin.action(description="Suspend: start nothing new", permissions=["change"])
    def suspend(self, request: HttpRequest, queryset: QuerySet[Account]) -> None:
        self._set_status(request, queryset, Account.Status.ACTIVE, Account.Status.SUSPENDED)

    @admin.action(description="Reactivate", permissions=["change"])
    def reactivate(self, request: HttpRequest, queryset: QuerySet[Account]) -> None:
        self._set_status(request, queryset, Account.Status.SUSPENDED, Account.Status.ACTIVE)

    def _set_status(self, request: HttpRequest, queryset: QuerySet[Account], before: str, after: str) -> None:
        changed: Sequence[Account] = list(queryset.filter(status=before))
        Account.objects.filter(pk__in=[each.pk for each in changed], status=before).update(status=after)
        for account in changed:
            self.log_change(request, account, f"{before} -> {after}")
        self.message_user(request, f"{len(changed)} accounts are {after} now.", messages.SUCCESS)
