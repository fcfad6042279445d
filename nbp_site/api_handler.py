"""Django's ASGI handler for the API: no thread stands by for a request, so a thousand may wait.

The stock handler keeps an idle thread for each request in flight and hops to it for every hook and signal. Here
everything down to the view is a coroutine and runs on the event loop; a view that is none would wait in a single file.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import IO, Any

from django.conf import settings
from django.core import signals
from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler, get_script_prefix
from django.core.handlers.exception import convert_exception_to_response
from django.http import HttpRequest, HttpResponseBase
from django.urls import set_script_prefix, set_urlconf
from django.utils.log import log_response
from django.utils.module_loading import import_string

from nbp_site.body_limit import Application


class ApiHandler(ASGIHandler):
    """Middleware comes from NBP_API_MIDDLEWARE and has no hooks but its call."""

    # A piece of a streamed image leaves as it is, instead of cut into many.
    chunk_size = 1024 * 1024

    def load_middleware(self, is_async: bool = True) -> None:
        self._view_middleware: list[Any] = []
        self._template_response_middleware: list[Any] = []
        self._exception_middleware: list[Any] = []
        chain: Callable[..., Any] = convert_exception_to_response(self._get_response_async)  # type: ignore[attr-defined]
        for path in reversed(settings.NBP_API_MIDDLEWARE):
            chain = convert_exception_to_response(import_string(path)(chain))
        self._middleware_chain = chain

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            body = await self.read_body(receive)
        except RequestAborted:
            return
        set_script_prefix(get_script_prefix(scope))
        # The receivers look after connections and caches of the thread they run in: this one has none.
        signals.request_started.send(sender=self.__class__, scope=scope)
        request, refusal = self.create_request(scope, body)
        if request is None:
            body.close()
            await self._send(refusal, send)
            return
        # A body that came in chunks has a length by now; without one it would be taken for none.
        request.META.setdefault("CONTENT_LENGTH", str(_length(body)))
        try:
            await self._serve(request, receive, send)
        finally:
            request.close()

    async def _serve(self, request: HttpRequest, receive: Any, send: Any) -> None:
        """Answer, unless the client leaves before."""
        leaving = asyncio.create_task(self.listen_for_disconnect(receive))
        answering = asyncio.create_task(self._answer(request, send, leaving))
        try:
            await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            answering.cancel()
            leaving.cancel()
            ends = await asyncio.gather(answering, leaving, return_exceptions=True)
        for end in ends:
            if isinstance(end, Exception) and not isinstance(end, RequestAborted):
                raise end

    async def _answer(self, request: HttpRequest, send: Any, leaving: asyncio.Task[None]) -> None:
        await self._send(await self.get_response_async(request), send, leaving)

    async def _send(self, response: Any, send: Any, leaving: asyncio.Task[None] | None = None) -> None:
        response._handler_class = self.__class__
        is_there = True

        async def watched(message: Any) -> None:
            nonlocal is_there
            if not message.get("more_body", message["type"] != "http.response.body"):
                # To a client that has left the server sends nothing, and says nothing of it; after the last message it
                # says of every client that it has left.
                await asyncio.sleep(0)
                is_there = leaving is None or not leaving.done()
            await send(message)

        try:
            await self.send_response(response, watched)
            if is_there:
                getattr(response, "on_delivered", _nobody_asks)()
        finally:
            response.close()

    async def get_response_async(self, request: HttpRequest) -> HttpResponseBase:
        """Like the stock handler's, but an answer that is no success is logged here and not in another thread."""
        set_urlconf(settings.ROOT_URLCONF)
        response = await self._middleware_chain(request)
        if response.status_code >= 400:
            log_response("%s: %s", response.reason_phrase, request.path, response=response, request=request)
        return response  # type: ignore[no-any-return]


def _nobody_asks() -> None:
    """For answers of which nobody wants to know whether they were delivered."""


def _length(body: IO[bytes]) -> int:
    body.seek(0, os.SEEK_END)
    length = body.tell()
    body.seek(0)
    return length


def is_served(path: str) -> bool:
    """Whether a path belongs to the API's handler."""
    return path.startswith(tuple(settings.NBP_API_PREFIXES)) and not path.startswith(tuple(settings.NBP_API_PAGES))


def with_api(site: Application) -> Application:
    """The site, with a handler of its own for the API."""
    api = ApiHandler()

    async def shared(scope: Any, receive: Any, send: Any) -> None:
        application = api if scope["type"] == "http" and is_served(scope["path"]) else site
        await application(scope, receive, send)

    return shared
