"""What the admin's pages are built of: columns of dollars, links between rows, and pages that only show."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from accounts.identifiers import parse_public_id
from accounts.ledger.admin.amounts import dollars
from accounts.ledger.admin.lists import BoundedPaginator
from accounts.models import MODES, Account

if TYPE_CHECKING:
    RowAdmin = admin.ModelAdmin[Any]
    RowInline = admin.TabularInline[Any, Any]
else:
    RowAdmin = admin.ModelAdmin
    RowInline = admin.TabularInline

Column = Callable[[Any], Any]


def usd(name: str, label: str) -> Column:
    """A column that shows the micro-dollars of attribute `name` as dollars and sorts by them."""

    def column(row: Any) -> str:
        return dollars(getattr(row, name))

    column.__name__ = name.replace("_micros", "_usd")
    return admin.display(description=label, ordering=name)(column)


def when(name: str, label: str) -> Column:
    """A column that shows a moment (UTC) to the second, in a form that sorts and can be searched for in logs."""

    def column(row: Any) -> str:
        moment = getattr(row, name)
        return format_html('<span class="nowrap">{}</span>', f"{moment:%Y-%m-%d %H:%M:%S}") if moment else "-"

    column.__name__ = name
    return admin.display(description=label, ordering=name)(column)


def link(url_name: str, pk: Any, text: str) -> SafeString:
    """A link to an admin page by its name, such as "accounts_account_change"."""
    return format_html('<a href="{}">{}</a>', reverse(f"admin:{url_name}", args=[pk]), text)


def account_link(path: str = "account") -> Column:
    """A column that leads to the account reached by an attribute path such as "wallet.account"."""

    def column(row: Any) -> SafeString:
        account = row
        for name in path.split("."):
            account = getattr(account, name)
        return link("accounts_account_change", account.pk, str(account))

    column.__name__ = "account_link"
    return admin.display(description="account", ordering=f"{path.replace('.', '__')}__name")(column)


class _ShowsOnly:
    """Nobody adds, changes or deletes here, superusers included."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ReadOnlyAdmin(_ShowsOnly, RowAdmin):
    """A model whose rows the admin shows and never writes. `fields` may hold columns beside field names."""

    # Counts of everything, of a filter or of each of its choices ("facets"), read the whole table.
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    paginator = BoundedPaginator
    list_per_page = 50

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.fields or ()


class ReadOnlyInline(_ShowsOnly, RowInline):
    """Rows shown on their parent's page."""

    template = "admin/edit_inline/read_only.html"
    extra = 0
    can_delete = False

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.fields or ()


class FixedFilter(admin.SimpleListFilter):
    """A filter over a handful of known values of one column, without asking the table for them."""

    path = ""
    values: Iterable[tuple[str, str]] = ()

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(self.values)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(**{self.path: self.value()}) if self.value() else queryset


def fixed_filter(
    path: str, values: Iterable[tuple[str, str]], *, title: str, parameter_name: str = ""
) -> type[FixedFilter]:
    """A FixedFilter class for the column at `path`."""
    members = {"path": path, "values": tuple(values), "title": title, "parameter_name": parameter_name or title}
    return type("FixedFilter", (FixedFilter,), members)


def mode_filter(path: str = "mode") -> type[FixedFilter]:
    """A filter by live and test."""
    return fixed_filter(path, MODES, title="mode")


class AccountFilter(admin.SimpleListFilter):
    """Rows of one account, `?account=acc_...`; links of other pages set it, as a list of all accounts is too long."""

    title = "account"
    parameter_name = "account"
    path = "account"

    def suggestions(self) -> Iterable[Account]:
        """Accounts to offer before one is chosen."""
        return ()

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        chosen = self.value()
        if chosen is None:
            return [(each.public_id, each.name) for each in self.suggestions()]
        account = Account.objects.filter(pk__in=filter(None, [parse_public_id("acc", chosen)])).first()
        return [(chosen, account.name if account else "unknown account")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = self.value()
        return queryset if chosen is None else queryset.filter(**{self.path: parse_public_id("acc", chosen)})


def account_filter(path: str = "account") -> type[AccountFilter]:
    """An AccountFilter class for rows whose account is at `path`."""
    return type("AccountFilter", (AccountFilter,), {"path": path})
