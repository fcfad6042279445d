"""Which path of the native door leads to which view."""

from __future__ import annotations

from django.urls import path, re_path
from drf_spectacular.views import SpectacularAPIView

from generation.dialects.native import content, documentation, money_views, views

urlpatterns = [
    path("generations", views.generations, name="api-generations"),
    path("generations/<str:generation_id>", views.DetailView.as_view(), name="api-generation"),
    path("generations/<str:generation_id>/cancel", views.CancelView.as_view(), name="api-generation-cancel"),
    path("generations/<str:generation_id>/events", views.events, name="api-generation-events"),
    path("outputs/<str:output_id>/content", content.content, name="api-output-content"),
    path("quotes", money_views.QuoteView.as_view(), name="api-quotes"),
    path("models", money_views.ModelsView.as_view(), name="api-models"),
    path("wallet", money_views.WalletView.as_view(), name="api-wallet"),
    path("ledger", money_views.LedgerView.as_view(), name="api-ledger"),
    path("usage", money_views.UsageView.as_view(), name="api-usage"),
    path("schema", SpectacularAPIView.as_view(), name="api-schema"),
    path("docs", documentation.docs, name="api-docs"),
    path("docs/errors", documentation.error_codes, name="api-docs-errors"),
    re_path(r"^(?P<path>.*)$", views.not_found, name="api-not-found"),
]
