"""What every door shares: threads for work that blocks, views as coroutines, who calls, and links to images.

A coroutine holds no thread and no database connection while it waits: it has its work done in bounded executors of our
own, which give the connection back after each call.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.core.handlers.wsgi import WSGIRequest
from django.db import connection
from django.http import HttpRequest, HttpResponse, HttpResponseBase, QueryDict
from django.views.decorators.csrf import csrf_exempt
from rest_framework.response import Response

from accounts import pools
from generation import media
from generation.contract import invalid

P = ParamSpec("P")
T = TypeVar("T")
_MAX_FILE_BYTES = 20 * 1024 * 1024
_FILE_THREADS = 8
# As many as pictures are unfolded at once.
_CONVERSION_THREADS = 2


@functools.cache
def _executor(name: str) -> ThreadPoolExecutor:
    """Creates may wait for the addresses of references, and files for their disk; the others never wait for them."""
    sizes = {
        "intake": settings.NBP_INTAKE_THREADS,
        "door": settings.NBP_WAITING_THREADS,
        "files": _FILE_THREADS,
        "conversions": _CONVERSION_THREADS,
    }
    return ThreadPoolExecutor(sizes[name], thread_name_prefix=name)


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run database work in the door's executor; its connection goes back before the answer does."""
    return await _in("door", functools.partial(function, *args, **kwargs))


async def in_intake_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The same for work that takes a request in."""
    return await _in("intake", functools.partial(function, *args, **kwargs))


async def in_file_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run work on files, which must not touch the database."""
    work = functools.partial(function, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(_executor("files"), work)


async def in_conversion_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run work that unfolds pictures, which takes long, apart from that on files."""
    work = functools.partial(function, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(_executor("conversions"), work)


def behind(function: Callable[[], object]) -> None:
    """Have database work done in the door's executor, without waiting for it. It must not raise."""
    _executor("door").submit(_giving_back, function)


def behind_files(function: Callable[[], object]) -> None:
    """The same for work on files."""
    _executor("files").submit(function)


async def _in(executor: str, work: Callable[[], T]) -> T:
    context = contextvars.copy_context()
    return await asyncio.get_running_loop().run_in_executor(_executor(executor), context.run, _giving_back, work)


def _giving_back(work: Callable[[], T]) -> T:
    """PostgreSQL's connection goes back to the pool. SQLite's is a file of this thread's own: it stays open."""
    try:
        return work()
    finally:
        if connection.errors_occurred:
            pools.look_after()
        if not connection.in_atomic_block and (connection.vendor != "sqlite" or connection.errors_occurred):
            connection.close()


def let_go(request: HttpRequest) -> None:
    """Give up a request's body and files: they may be large, and the wait for an answer long."""
    request.close()
    request.POST = QueryDict()


class Handed(HttpResponse):
    """What a view found, handed to the coroutine that will answer. Never sent itself; its headers are."""

    def __init__(self, value: Any, headers: dict[str, str] | None = None) -> None:
        super().__init__(headers=headers)
        self.value = value


def call(view: Any, request: HttpRequest, **kwargs: Any) -> HttpResponse:
    """Run a synchronous view to its rendered end, in the thread that will give the database connection back.

    The answer is a plain one: it keeps nothing alive of what was asked.
    """
    response: HttpResponse = view(request, **kwargs)
    if not isinstance(response, Response):
        return response
    rendered = response if response.is_rendered else response.render()
    return HttpResponse(rendered.content, status=response.status_code, headers=dict(response.items()))


def in_threads(view_class: Any) -> Callable[..., Any]:
    """A class-based view as a coroutine that has it run in the door's executor. Schema generators see the class."""
    view = view_class.as_view()

    @csrf_exempt
    async def run(request: HttpRequest, **kwargs: Any) -> HttpResponseBase:
        return await ask(view, request, **kwargs)

    return standing_for(view_class, run)


async def ask(view: Any, request: HttpRequest, **kwargs: Any) -> HttpResponse:
    """`call` in the door's executor, or in the thread that a synchronous server keeps for the request anyway."""
    if isinstance(request, WSGIRequest):
        return await sync_to_async(call)(view, request, **kwargs)
    return await in_thread(call, view, request, **kwargs)


def standing_for(view_class: Any, function: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a coroutine as the one that answers for a class-based view."""
    function.cls, function.initkwargs = view_class, {}  # type: ignore[attr-defined]
    return function


def bearer(request: HttpRequest) -> str | None:
    """The raw key of an `Authorization: Bearer` header; an empty text if the header is not of that form."""
    header = request.META.get("HTTP_AUTHORIZATION")
    if header is None:
        return None
    scheme, _, raw = header.partition(" ")
    return raw.strip() if scheme.lower() == "bearer" else ""


def bytes_of(name: str, part: UploadedFile[Any]) -> bytes:
    """An image of a form; `name` is its field."""
    if (part.size or 0) > _MAX_FILE_BYTES:
        raise invalid(name, "The file is larger than 20 MB.", "reference_too_large")
    return bytes(part.read())


def absolute(request: HttpRequest, path: str) -> str:
    """A full URL on this site: under NBP_BASE_URL where set, else as the caller addressed us."""
    if settings.NBP_BASE_URL:
        return f"{settings.NBP_BASE_URL.rstrip('/')}{path}"
    return str(request.build_absolute_uri(path))


def image_link(request: HttpRequest, output_id: str) -> str:
    """A link to an output's image that works without a key until it expires."""
    return absolute(request, f"/m/{output_id}?{media.signed_query(output_id)}")
