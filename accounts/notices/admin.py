"""Mails: what was told to whom, and what could not be sent."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin

from accounts.ledger.admin.columns import ReadOnlyAdmin, account_filter, account_link, when
from accounts.ledger.admin.lists import period_filter
from accounts.notices.models import Notice


@admin.register(Notice)
class NoticeAdmin(ReadOnlyAdmin):
    """The outbox."""

    list_display: Any = (
        "id",
        account_link(),
        "subject",
        when("created_at", "written"),
        when("sent_at", "sent"),
        when("next_try_at", "next try"),
        "tries",
        "error",
    )
    fields: ClassVar[Any] = (*list_display, "key", "body")
    list_filter = (period_filter(), account_filter())
    list_select_related = ("account",)
    search_fields = ("subject", "account__name")
    ordering = ("-id",)
