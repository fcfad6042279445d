"""Which door leads where."""

from __future__ import annotations

from django.conf import settings
from django.contrib import admin
from django.templatetags.static import static
from django.urls import include, path, re_path
from django.views.generic import RedirectView

from generation.dialects.ai_gateway import metadata_views
from generation.dialects.gemini import file_views
from generation.dialects.native import content

urlpatterns = [
    path("api/v1/", include("generation.dialects.native.urls")),
    path("openai/v1/", include("generation.dialects.openai.urls")),
    path("openrouter/api/v1/", include("generation.dialects.openai.urls")),
    # The AI Gateway's SDK asks for it at the root, whatever its base URL.
    path("v1/credits", metadata_views.credit),
    path("v1/", include("generation.dialects.openai.urls")),
    path("ai-gateway/", include("generation.dialects.ai_gateway.urls")),
    # The upload stands before the version.
    re_path(r"^(?:gemini/)?upload/v1(?:beta|alpha)?/files$", file_views.upload),
    path("gemini/v1beta/", include("generation.dialects.gemini.urls")),
    path("gemini/v1/", include("generation.dialects.gemini.urls")),
    path("gemini/v1alpha/", include("generation.dialects.gemini.urls")),
    path("v1beta/", include("generation.dialects.gemini.urls")),
    path("m/<str:output_id>", content.signed_link, name="image"),
    path("favicon.ico", RedirectView.as_view(url=static("mark.svg"), permanent=False)),
    path("admin/", admin.site.urls),
    path("accounts/", include("allauth.urls")),
    path("", include("accounts.pages.urls")),
    path("", include("generation.pages.urls")),
]

if settings.NBP_IS_DEVELOPMENT:
    urlpatterns += [
        path("dev/mail/", include("nbp_site.dev_mail")),
        path("dev/stripe/", include("accounts.pages.fake_stripe")),
    ]

handler400 = "nbp_site.error_pages.bad_request"
handler404 = "nbp_site.error_pages.not_found"
handler500 = "nbp_site.error_pages.fault"
