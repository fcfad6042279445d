"""Which path of this door leads to which view, the same for every version of the API."""

from __future__ import annotations

from django.urls import path, re_path

from generation.dialects.gemini import base, batch_views, content_views, file_views, model_views

urlpatterns = [
    path("batches", batch_views.all_batches),
    path("batches/<str:letters>:cancel", batch_views.cancel),
    path("batches/<str:letters>", batch_views.batch),
    re_path(r"^(?:models/)?(?P<name>[^:]+):batchGenerateContent$", batch_views.create),
    re_path(r"^files/results-(?P<letters>[0-9a-z]{26}):download$", batch_views.result_content),
    re_path(r"^files/results-(?P<letters>[0-9a-z]{26})$", batch_views.result_file),
    path("files", file_views.files),
    path("files/<str:name>:download", file_views.download),
    path("files/<str:name>", file_views.file),
    re_path(r"^(?:models/)?(?P<name>[^:]+):(?P<verb>[a-zA-Z]+)$", content_views.verb),
    path("models", model_views.models),
    path("models/<path:name>", model_views.model),
    re_path(r"^(?P<path>.*)$", base.not_found),
]
