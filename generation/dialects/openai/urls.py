"""Which path of this door leads to which view: the same below every prefix that stands for OpenAI or OpenRouter."""

from __future__ import annotations

from django.urls import path, re_path

from generation.dialects.openai import (
    base,
    batch_views,
    chat_views,
    file_views,
    image_views,
    model_views,
    response_views,
)

urlpatterns = [
    path("models", model_views.models),
    path("models/<path:name>", model_views.model),
    path("images/generations", image_views.generate),
    path("images/edits", image_views.edit),
    path("images", image_views.generate),
    path("chat/completions", chat_views.completions),
    path("batches", batch_views.all_batches),
    path("batches/<str:name>", batch_views.batch),
    path("batches/<str:name>/cancel", batch_views.cancel),
    re_path(r"^files/file-(?P<kind>results|errors)-(?P<letters>[0-9a-z]{26})$", batch_views.result_file),
    re_path(r"^files/file-(?P<kind>results|errors)-(?P<letters>[0-9a-z]{26})/content$", batch_views.result_content),
    path("files", file_views.files),
    path("files/<str:name>", file_views.file),
    path("files/<str:name>/content", file_views.content),
    path("responses", response_views.create),
    re_path(r"^(?P<path>.*)$", base.not_found),
]
