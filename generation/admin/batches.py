"""Batches in the operator's admin: who handed in how much, and how far it has come."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts.identifiers import parse_public_id
from accounts.ledger.admin.columns import ReadOnlyAdmin, account_filter, account_link, when
from accounts.ledger.admin.lists import period_filter
from generation.models import Batch, BatchItem


@admin.display(description="made")
def _made_count(row: Batch) -> str:
    return str(row.items.filter(generation__succeeded_count__gt=0).count())


@admin.display(description="refused")
def _refused_count(row: Batch) -> str:
    return str(row.items.filter(state=BatchItem.State.REFUSED).count())


@admin.display(description="waiting")
def _waiting_count(row: Batch) -> str:
    return str(row.items.filter(state=BatchItem.State.PENDING).count())


@admin.register(Batch)
class BatchAdmin(ReadOnlyAdmin):
    """Batches, with the counts of their requests."""

    list_display = (
        "public_id",
        when("created_at", "created"),
        account_link(),
        "mode",
        "door",
        "kind",
        "status",
        "item_count",
        when("ended_at", "ended"),
    )
    fields: ClassVar[Any] = (
        "public_id",
        account_link(),
        "api_key",
        "mode",
        "door",
        "kind",
        "title",
        "status",
        "item_count",
        _made_count,
        _refused_count,
        _waiting_count,
        "input_file",
        "metadata",
        "faults",
        "created_at",
        "started_at",
        "cancel_requested_at",
        "expires_at",
        "ended_at",
    )
    list_filter = ("mode", "status", "door", period_filter(), account_filter())
    list_select_related = ("account",)
    search_fields = ("title", "account__name")
    search_help_text = "batch_..., its title, or the account's name"
    ordering = ("-id",)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.fields

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[Batch], search_term: str) -> Any:
        row_id = parse_public_id("batch", search_term.strip())
        if row_id is not None:
            return queryset.filter(pk=row_id), False
        return super().get_search_results(request, queryset, search_term)
