"""The ASGI application: static files first, in front of Django; then the API's handler, or the site's."""

from __future__ import annotations

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "nbp_site.settings")
django_application = get_asgi_application()

from nbp_site.api_handler import with_api  # noqa: E402
from nbp_site.body_limit import with_body_limit  # noqa: E402
from nbp_site.static_files import with_static_files  # noqa: E402

application = with_static_files(with_body_limit(with_api(django_application)))
