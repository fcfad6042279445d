"""Charges in the operator's admin: what each image brought and cost, with the sums of whatever is filtered."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.safestring import SafeString

from accounts.ledger.admin.amounts import dollars
from accounts.ledger.admin.columns import AccountFilter, ReadOnlyAdmin, account_link, link, mode_filter, usd, when
from accounts.models import Account
from generation.admin import figures
from generation.models import Charge

_SUGGESTED = 10


class ChargedAccountFilter(AccountFilter):
    """Offers the accounts that were charged most often lately."""

    def suggestions(self) -> Iterable[Account]:
        recent = Charge.objects.filter(created_at__gte=timezone.now() - timedelta(days=30)).order_by()
        counted = recent.values("account").annotate(count=Count("pk")).order_by("-count")[:_SUGGESTED]
        places = {row["account"]: place for place, row in enumerate(counted)}
        return sorted(Account.objects.filter(pk__in=list(places)), key=lambda account: places[account.pk])


@admin.display(description="image")
def _output(row: Charge) -> SafeString:
    return link("generation_output", row.output.public_id, row.output.public_id)


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
        "media_sha256",
    )
    list_filter = (mode_filter(), "image_model", "channel", "created_at", ChargedAccountFilter)
    list_select_related = ("account", "image_model", "channel", "output", "entry")
    date_hierarchy = "created_at"
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
            changes = context["cl"]
            attempts = figures.attempts_like(changes.get_filters_params())
            if term := changes.query.strip():
                attempts = attempts.filter(figures.found_by(term, figures.ATTEMPT_SEARCH))
            context["sums"] = figures.sums(changes.queryset, attempts)
        return response
