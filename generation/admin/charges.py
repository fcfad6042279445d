"""Charges in the operator's admin: what each image brought and cost, with the sums of whatever is filtered."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString

from accounts.identifiers import public_id
from accounts.ledger.admin.amounts import dollars
from accounts.ledger.admin.columns import AccountFilter, FixedFilter, ReadOnlyAdmin, account_link, link, usd, when
from accounts.ledger.admin.lists import PeriodFilter, period_filter
from accounts.models import MODES, Account
from generation.admin import figures
from generation.models import Charge

_SUGGESTED = 10
_SAMPLE = 1000


class ChargedModeFilter(FixedFilter):
    """Live, test, or both by name."""

    title = parameter_name = path = "mode"
    values = MODES

    def queryset(self, request: HttpRequest, queryset: QuerySet[Charge]) -> QuerySet[Charge]:
        return super().queryset(request, queryset) if self.value() else figures.in_both_modes(queryset)


class ChargedAccountFilter(AccountFilter):
    """Offers the accounts that the latest charges name most often."""

    def suggestions(self) -> Iterable[Account]:
        # So many rows and no more, whatever a period holds.
        latest = Charge.objects.order_by("-pk").values("pk")[:_SAMPLE]
        named = Charge.objects.filter(pk__in=latest).order_by().values("account")
        counted = named.annotate(count=Count("*")).order_by("-count", "account")[:_SUGGESTED]
        places = {row["account"]: place for place, row in enumerate(counted)}
        return sorted(Account.objects.filter(pk__in=list(places)), key=lambda account: places[account.pk])


@admin.display(description="image")
def _output(row: Charge) -> SafeString:
    name = public_id("out", row.output_id)
    return link("generation_output", name, name)


@admin.display(description="entry")
def _entry(row: Charge) -> SafeString | str:
    return link("ledger_entry_change", row.entry.pk, row.entry.public_id) if row.entry else "-"


@admin.display(description="margin")
def _margin(row: Charge) -> str:
    share = f" ({100 * row.margin_micros / row.price_micros:.1f} %)" if row.price_micros else ""
    return f"{dollars(row.margin_micros)}{share}"


@admin.register(Charge)
class ChargeAdmin(ReadOnlyAdmin):
    """One row for each delivered image."""

    list_display = (
        "id",
        when("created_at", "created"),
        account_link(),
        usd("price_micros", "price"),
        usd("cost_micros", "cost"),
        _margin,
        "mode",
        "image_model",
        "image_size",
        "channel",
        _output,
    )
    fields: ClassVar[Any] = (
        *list_display,
        "api_key",
        usd("quote_micros", "quote"),
        "price",
        _entry,
        "reference_count",
        "cache",
        usd("saved_price_micros", "price saved"),
        usd("saved_cost_micros", "cost saved"),
        "media_sha256",
    )
    # The sums are over all rows of the filter: their time grows with the period, so the page begins with a short one.
    list_filter = (ChargedModeFilter, "image_model", "channel", period_filter(default="30d"), ChargedAccountFilter)
    list_select_related = ("account", "image_model", "channel")
    search_fields = ("account__name",)
    search_help_text = "out_..., gen_..., acc_..., key_..., or the account's name"
    ordering = ("-id",)

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[Charge], search_term: str) -> Any:
        term = search_term.strip()
        return (queryset.filter(figures.found_by(term, figures.CHARGE_SEARCH)) if term else queryset), False

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        response = super().changelist_view(request, extra_context)
        context = getattr(response, "context_data", None)
        if context is not None and "cl" in context:
            context |= _summed(context["cl"])
        return response


def _summed(changes: Any) -> dict[str, Any]:
    """The sums of a list of charges, and the words for the period they are over."""
    (period,) = (each for each in changes.filter_specs if isinstance(each, PeriodFilter))
    attempts = period.bound(figures.attempts_like(changes.get_filters_params()), "started_at")
    if term := changes.query.strip():
        attempts = attempts.filter(figures.found_by(term, figures.ATTEMPT_SEARCH))
    is_all_time = period.since is None and period.until is None
    add = figures.sums_of_all_time if is_all_time else figures.sums
    sums = add(changes.queryset, attempts)
    return {"sums": sums, "cache": figures.cache_sums(changes.queryset), "period": period.words}
