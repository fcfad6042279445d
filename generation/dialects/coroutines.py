"""A door's views as coroutines: whatever they raise leaves in the door's own format."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.views.decorators.csrf import csrf_exempt

from generation import presence
from generation.contract import Refusal
from generation.dialects import door, refusals

logger = logging.getLogger(__name__)
View = Callable[..., Coroutine[Any, Any, HttpResponseBase]]
# Says a refusal in the door's words, to this request.
Say = Callable[[HttpRequest, Refusal], HttpResponse]


def view(say: Say, *methods: str) -> Callable[[View], View]:
    """A view for these methods. Its own 404, 405 and 500 are said like every other refusal of its door."""

    def decorate(function: View) -> View:
        @csrf_exempt
        @functools.wraps(function)
        async def run(request: HttpRequest, **kwargs: Any) -> HttpResponseBase:
            try:
                if request.method not in methods:
                    raise Refusal("method", "method_not_allowed", f"Send {' or '.join(methods)}.")
                return await function(request, **kwargs)
            except Exception as error:
                refusal = refusals.of(error)
                if refusal is None:
                    logger.exception("%s failed", request.path)
                    refusal = refusals.FAULT
                return _named(say(request, refusal), refusal)

        return run

    return decorate


def _named(response: HttpResponseBase, refusal: Refusal) -> HttpResponseBase:
    """With the generation that an error is about in its head."""
    if isinstance(refusal, refusals.OfGeneration):
        response["X-Generation-Id"] = refusal.generation
    return response


def threaded(say: Say, method: str, function: Callable[..., HttpResponseBase], *, is_intake: bool = False) -> View:
    """A view for one method whose work is a synchronous function, done in the door's executor (or in the intake's)."""

    @view(say, method)
    async def run(request: HttpRequest, **kwargs: Any) -> HttpResponseBase:
        if not is_intake:
            return await door.in_thread(function, request, **kwargs)
        leaving = presence.watched()
        work = asyncio.ensure_future(door.in_intake_thread(function, request, **kwargs))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            leaving.set()
            work.add_done_callback(_nobody_there)
            raise

    return run


def _nobody_there(work: asyncio.Future[HttpResponseBase]) -> None:
    """An answer whose client has left meanwhile."""
    if not work.cancelled() and work.exception() is None:
        work.result().close()


def not_found(say: Say) -> View:
    """Unknown routes below a door answer in its own format."""

    @csrf_exempt
    async def run(request: HttpRequest, **_: Any) -> HttpResponseBase:
        return say(request, refusals.not_found(request.path))

    return run


def by_method(**views: View) -> View:
    """One path, another view for each method. A method that none is for gets the first one's refusal."""

    @csrf_exempt
    async def run(request: HttpRequest, **kwargs: Any) -> HttpResponseBase:
        found = views.get((request.method or "").lower()) or next(iter(views.values()))
        return await found(request, **kwargs)

    return run
