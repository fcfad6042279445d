"""The operator's admin: Django's own, under our name, behind the site's rate-limited login."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from allauth.account.decorators import secure_admin_login
from django.contrib.admin import AdminSite
from django.http import HttpRequest
from django.template.response import TemplateResponse

_ORDER = ("generation", "channels", "accounts", "payments", "promotions", "ledger", "notices")
_NAMES = {"account": "Sign-in", "mfa": "Second factors"}


class OperatorAdminSite(AdminSite):
    """Django's admin with an overview on its first page."""

    site_header = "Nano Banana Pro: operator"
    site_title = "Operator"
    index_title = "Usage, channels and money"
    # Lists have many columns; the first page has the same links.
    enable_nav_sidebar = False

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """The site's own login stands here: it counts failures and asks for a second factor."""
        return secure_admin_login(super().login)(request, extra_context=extra_context)

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        # Imported late: the admin modules register themselves at this site while they are imported.
        from accounts.payments.admin import overview as money
        from generation.admin import figures

        shown: dict[str, Any] = {}
        if request.user.has_perm("generation.view_charge"):
            shown["overview"] = figures.overview(now=datetime.now(UTC))
        if request.user.has_perm("payments.view_payment"):
            shown["money"] = money.overview(now=datetime.now(UTC))
        return super().index(request, shown | (extra_context or {}))

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        """What the operator works with comes first."""
        found = super().get_app_list(request, app_label)
        for each in found:
            each["name"] = _NAMES.get(each["app_label"], each["name"])
        places = {label: place for place, label in enumerate(_ORDER)}
        return sorted(found, key=lambda each: places.get(each["app_label"], len(places)))
