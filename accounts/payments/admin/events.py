"""What Stripe sent, and where it and the ledger differ."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from accounts.ledger.admin.columns import FixedFilter, ReadOnlyAdmin, when
from accounts.ledger.admin.lists import period_filter
from accounts.payments import inbox
from accounts.payments.admin.payments import payment_link
from accounts.payments.models import Drift, ReconciliationRun, StripeEvent


class _WaitingFilter(FixedFilter):
    """Events by whether they were followed."""

    title = "state"
    parameter_name = "state"
    values = (("waiting", "waiting"), ("done", "done"), ("given_up", "given up"))

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        wanted: dict[str, dict[str, Any]] = {
            "waiting": {"next_try_at__isnull": False},
            "done": {"processed_at__isnull": False, "next_try_at": None},
            "given_up": {"processed_at": None, "next_try_at": None},
        }
        return queryset.filter(**wanted.get(self.value() or "", {}))


@admin.register(StripeEvent)
class StripeEventAdmin(ReadOnlyAdmin):
    """The inbox."""

    list_display: Any = (
        "stripe_event_id",
        "type",
        when("received_at", "received"),
        when("processed_at", "followed"),
        when("next_try_at", "next try"),
        "tries",
        "is_backfilled",
        "error",
    )
    fields: ClassVar[Any] = (*list_display, "api_version", "livemode", "object_id", "intent_id", "created", "payload")
    list_filter = (_WaitingFilter, "is_backfilled", "livemode", period_filter("received_at"))
    search_fields = ("stripe_event_id", "object_id", "intent_id", "type")
    ordering = ("-received_at",)
    actions = ("replay",)

    @admin.action(description="Follow again", permissions=["view"])
    def replay(self, request: HttpRequest, queryset: QuerySet[StripeEvent]) -> None:
        count = 0
        for row in queryset[:500]:
            inbox.replay(row, now=timezone.now())
            count += 1
        self.message_user(request, f"{count} events are followed again in a moment.", messages.SUCCESS)


class _OpenFilter(FixedFilter):
    """Drift that is there, or was."""

    title = "state"
    parameter_name = "state"
    values = (("open", "open"), ("closed", "closed"))

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(closed_at__isnull=self.value() == "open") if self.value() else queryset


@admin.register(Drift)
class DriftAdmin(ReadOnlyAdmin):
    """What differs between Stripe and the ledger."""

    @admin.display(description="payment", ordering="payment__id")
    def of_payment(self, row: Drift) -> Any:
        return payment_link(row) if row.payment else "-"

    list_display: Any = (
        "invariant",
        "detail",
        "subject",
        "of_payment",
        when("found_at", "found"),
        when("seen_at", "last seen"),
        when("closed_at", "closed"),
    )
    fields: ClassVar[Any] = list_display
    list_filter = (_OpenFilter, period_filter("found_at"))
    list_select_related = ("payment",)
    search_fields = ("subject", "detail")
    ordering = ("-found_at",)


@admin.register(ReconciliationRun)
class ReconciliationRunAdmin(ReadOnlyAdmin):
    """The nights' comparisons."""

    list_display: Any = (
        "day",
        when("started_at", "started"),
        when("finished_at", "finished"),
        "payments_checked",
        "events_fetched",
        "credited_now",
        "drift_count",
        "error",
    )
    fields: ClassVar[Any] = list_display
    ordering = ("-day",)
