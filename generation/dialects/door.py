"""What every door shares: finding the key, waiting without holding a thread, and links to images.

Database work of a waiting view runs in a bounded executor of our own that gives its connection back after each call.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from django.conf import settings
from django.db import connection
from django.http import HttpRequest

from generation import media

P = ParamSpec("P")
T = TypeVar("T")


@functools.cache
def _executor(name: str) -> ThreadPoolExecutor:
    """Creates may wait for the addresses of references; they have threads of their own, so that reads never do."""
    size = settings.NBP_INTAKE_THREADS if name == "intake" else settings.NBP_WAITING_THREADS
    return ThreadPoolExecutor(size, thread_name_prefix=name)


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run database work in the door's executor; its connection goes back before the answer does."""
    return await _in("door", function, *args, **kwargs)


async def in_intake_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The same for work that takes a request in."""
    return await _in("intake", function, *args, **kwargs)


async def _in(executor: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:

    def work() -> T:
        try:
            return function(*args, **kwargs)
        finally:
            if not connection.in_atomic_block:
                connection.close()

    return await asyncio.get_running_loop().run_in_executor(_executor(executor), contextvars.copy_context().run, work)


def bearer(request: HttpRequest) -> str | None:
    """The raw key of an `Authorization: Bearer` header; an empty text if the header is not of that form."""
    header = request.META.get("HTTP_AUTHORIZATION")
    if header is None:
        return None
    scheme, _, raw = header.partition(" ")
    return raw.strip() if scheme.lower() == "bearer" else ""


def address_of(request: HttpRequest) -> str:
    """The caller's address; the last one a trusted proxy named where we stand behind one."""
    forwarded = request.META.get("HTTP_X_FORWARDED_FOR", "")
    if getattr(settings, "SECURE_PROXY_SSL_HEADER", None) and forwarded:
        return str(forwarded.rsplit(",", 1)[-1].strip())
    return str(request.META.get("REMOTE_ADDR", ""))


def absolute(request: HttpRequest, path: str) -> str:
    """A full URL on this site: under NBP_BASE_URL where set, else as the caller addressed us."""
    if settings.NBP_BASE_URL:
        return f"{settings.NBP_BASE_URL.rstrip('/')}{path}"
    return str(request.build_absolute_uri(path))


def image_link(request: HttpRequest, output_id: str) -> str:
    """A link to an output's image that works without a key until it expires."""
    return absolute(request, f"/m/{output_id}?{media.signed_query(output_id)}")
