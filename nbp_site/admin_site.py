"""The operator's admin: Django's own, under our name, behind the site's rate-limited login."""

from __future__ import annotations

from django.contrib.admin import AdminSite


class OperatorAdminSite(AdminSite):
    """Django's admin under our name."""

    site_header = "Nano Banana Pro: operator"
    site_title = "Operator"
    index_title = "Usage, channels and money"
