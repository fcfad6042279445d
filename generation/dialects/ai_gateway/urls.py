"""Which path of this door leads to which view, the same for every version of the SDK."""

from __future__ import annotations

from django.urls import path, re_path

from generation.dialects.ai_gateway import base, metadata_views, model_views

urlpatterns = [
    re_path(r"^v[134]/ai/language-model$", model_views.language_model),
    re_path(r"^v[134]/ai/image-model$", model_views.image_model),
    re_path(r"^v(?P<version>[134])/ai/config$", metadata_views.config),
    path("v1/credits", metadata_views.credit),
    re_path(r"^(?P<path>.*)$", base.not_found),
]
