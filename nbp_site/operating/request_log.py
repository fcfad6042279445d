"""One log line, one measurement and one span for each request: its route and what came of it, never what it said."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest, HttpResponseBase
from prometheus_client import Counter, Histogram

from accounts import request_context
from accounts.authentication import Requester
from accounts.identifiers import public_id
from nbp_site.operating import tracing

logger = logging.getLogger("nbp_site.requests")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# What a client that left is noted as; it sees no status.
_CLIENT_LEFT = 499

_REQUESTS = Counter("nbp_http_requests", "Requests by route and status.", ("method", "route", "status"))
_SECONDS = Histogram(
    "nbp_http_request_seconds",
    "Time until an answer begins; requests that prefer to wait do so within it.",
    ("method", "route"),
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120),
)
_THROTTLED = Counter("nbp_http_throttled", "Requests turned away with 429, by the limit they met.", ("limit",))


class RequestLog:
    """Stands below the middleware that names the request."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        # Here and not in settings: only a process that serves loads its middleware.
        tracing.start()
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if iscoroutinefunction(self.get_response):
            return self._later(request)
        started = time.perf_counter()
        with tracing.request_span(request) as span:
            response = self.get_response(request)
            _tell(request, response, time.perf_counter() - started, span)
            return response  # type: ignore[no-any-return]

    async def _later(self, request: HttpRequest) -> HttpResponseBase:
        started, response = time.perf_counter(), None
        with tracing.request_span(request) as span:
            try:
                response = await self.get_response(request)
                return response  # type: ignore[no-any-return]
            finally:
                _tell(request, response, time.perf_counter() - started, span)


def _tell(request: HttpRequest, response: HttpResponseBase | None, seconds: float, span: tracing.RequestSpan) -> None:
    match = request.resolver_match
    route = str(match.route) if match else "unmatched"
    method = request.method if request.method in _METHODS else "other"
    status = _CLIENT_LEFT if response is None else response.status_code
    _REQUESTS.labels(method, route, status).inc()
    _SECONDS.labels(method, route).observe(seconds)
    if status == 429:
        _THROTTLED.labels(_limit(request)).inc()
    milliseconds = round(seconds * 1000)
    span.end(method=method, route=route, status=status, request_id=request_context.current())
    facts = {"method": method, "route": route, "status": status, "milliseconds": milliseconds}
    request_context.note(**_names(request, response))
    logger.info("%s %s %d %d ms", method, route or "/", status, milliseconds, extra={"facts": facts})


def _limit(request: HttpRequest) -> str:
    """Which limit turned a request away, by what the doors noted about it."""
    state = getattr(request, "rate_limit_state", None)
    if state is None:
        return "address"
    return "unfinished" if state.is_allowed else "requests"


def _names(request: HttpRequest, response: HttpResponseBase | None) -> dict[str, str]:
    """The account and the generation a request turned out to be about, without asking the database for them."""
    names = {}
    user = request.__dict__.get("user")
    account = user.account if type(user) is Requester else getattr(request, "_account", None)
    if account is not None:
        names["account"] = account.public_id
    generation_id = getattr(response, "generation_id", None)
    if generation_id is not None:
        names["generation"] = public_id("gen", generation_id)
    return names
