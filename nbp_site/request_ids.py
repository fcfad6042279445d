"""A request id for every request: in the answer, in error bodies and in each log line of the request."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest, HttpResponseBase

from accounts import request_context


class RequestIdMiddleware:
    """Names the request and says the name in `X-Request-Id`. None is taken from outside."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if iscoroutinefunction(self.get_response):
            return self._later(request)
        name = request_context.begin()
        return _named(self.get_response(request), request, name)

    async def _later(self, request: HttpRequest) -> HttpResponseBase:
        name = request_context.begin()
        return _named(await self.get_response(request), request, name)


def _named(response: HttpResponseBase, request: HttpRequest, name: str) -> HttpResponseBase:
    response["X-Request-Id"] = name
    state = getattr(request, "rate_limit_state", None)
    if state is not None:
        response["RateLimit-Policy"] = f'"requests";q={state.limit};w=60'
        response["RateLimit"] = f'"requests";r={state.remaining};t={state.reset_seconds}'
        response["X-RateLimit-Limit-Requests"] = str(state.limit)
        response["X-RateLimit-Remaining-Requests"] = str(state.remaining)
        response["X-RateLimit-Reset-Requests"] = f"{state.reset_seconds}s"
    return response


class RequestIdFilter(logging.Filter):
    """Gives each log record the id of the request it belongs to."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = request_context.current() or "-"
        return True
