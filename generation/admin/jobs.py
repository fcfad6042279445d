"""Jobs in the operator's admin: what waits upstream, and what became of it."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin
from django.http import HttpRequest

from accounts.ledger.admin.columns import ReadOnlyAdmin, when
from accounts.ledger.admin.lists import period_filter
from generation.models import Attempt, Job


@admin.display(description="delivered")
def _delivered_count(row: Job) -> str:
    return str(row.attempts.filter(is_delivered=True).count())


@admin.display(description="still out")
def _out_count(row: Job) -> str:
    return str(row.attempts.filter(status=Attempt.Status.SENT).count())


@admin.register(Job)
class JobAdmin(ReadOnlyAdmin):
    """Jobs of batch channels, the newest first."""

    list_display = (
        "public_id",
        when("created_at", "created"),
        "channel",
        "image_model",
        "state",
        "outcome",
        "item_count",
        when("ended_at", "ended"),
    )
    fields: ClassVar[Any] = (
        "public_id",
        "channel",
        "image_model",
        "state",
        "outcome",
        "message",
        "upstream_name",
        "item_count",
        _delivered_count,
        _out_count,
        "token_estimate",
        "create_count",
        "created_at",
        "sent_at",
        "look_at",
        "deadline_at",
        "ended_at",
    )
    list_filter = ("state", "outcome", period_filter())
    list_select_related = ("channel", "image_model")
    search_fields = ("upstream_name",)
    search_help_text = "The provider's name of the job"
    ordering = ("-id",)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.fields
