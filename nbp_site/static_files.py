"""Static files in front of Django, outside its middleware, straight from the apps' own folders."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from servestatic import ServeStaticASGI


def with_static_files(application: Any) -> Any:
    """The application, answering STATIC_URL itself. No collectstatic is needed."""
    server = ServeStaticASGI(application, max_age=60, allow_all_origins=False)
    for finder in get_finders():
        for storage in {id(storage): storage for _, storage in finder.list([])}.values():
            server.add_files(storage.location, prefix=settings.STATIC_URL)
    return server
