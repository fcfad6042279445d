"""Pages of the site: landing, playground, generations, images, wallet."""

from __future__ import annotations

from django.urls import path

from generation.pages import generations, landing, modes, own_keys, playground, wallet

urlpatterns = [
    path("", landing.landing, name="landing"),
    path("mode/", modes.switch, name="mode"),
    path("playground/", playground.playground, name="playground"),
    path("playground/options/", playground.options, name="playground-options"),
    path("playground/quote/", playground.quote, name="playground-quote"),
    path("generations/<str:generation_id>/", generations.generation, name="generation"),
    path("generations/<str:generation_id>/progress/", generations.progress, name="generation-progress"),
    path("generations/<str:generation_id>/cancel/", generations.cancel, name="generation-cancel"),
    path(
        "generations/<str:generation_id>/suggestions/<str:output_id>/",
        generations.suggestions,
        name="generation-suggestions",
    ),
    path("images/", generations.images, name="images"),
    path("images/<str:output_id>/", generations.output, name="output"),
    path("own-keys/", own_keys.own_keys, name="own-keys"),
    path("own-keys/add/", own_keys.add, name="own-key-add"),
    path("own-keys/<str:kind>/remove/", own_keys.remove, name="own-key-remove"),
    path("wallet/", wallet.wallet, name="wallet"),
    path("wallet/statement.csv", wallet.statement_csv, name="statement-csv"),
]
