"""Which path of the native door leads to which view."""

from __future__ import annotations

from django.urls import path, re_path
from drf_spectacular.views import SpectacularAPIView

from generation.dialects.door import in_threads
from generation.dialects.native import content, documentation, money_views, views

urlpatterns = [
    path("generations", views.generations, name="api-generations"),
    path("generations/<str:generation_id>", views.detail, name="api-generation"),
    path("generations/<str:generation_id>/cancel", in_threads(views.CancelView), name="api-generation-cancel"),
    path("generations/<str:generation_id>/events", views.events, name="api-generation-events"),
    path("outputs/<str:output_id>/content", content.content, name="api-output-content"),
    path("quotes", in_threads(money_views.QuoteView), name="api-quotes"),
    path("models", in_threads(money_views.ModelsView), name="api-models"),
    path("wallet", in_threads(money_views.WalletView), name="api-wallet"),
    path("ledger", in_threads(money_views.LedgerView), name="api-ledger"),
    path("usage", in_threads(money_views.UsageView), name="api-usage"),
    path("schema", SpectacularAPIView.as_view(), name="api-schema"),
    path("docs", documentation.docs, name="api-docs"),
    path("docs/errors", documentation.error_codes, name="api-docs-errors"),
    re_path(r"^(?P<path>.*)$", views.not_found, name="api-not-found"),
]
