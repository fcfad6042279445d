"""`/livez`, `/readyz` and `/metrics`, in front of everything else.

Whoever asks here may address the machine by any name and without TLS: no host check, no redirect, no session, no log
line. Strangers learn one word; details are the operator's.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.db import connection
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from prometheus_client import CONTENT_TYPE_LATEST

from nbp_site.operating import access, gauges, health

Door = Callable[[HttpRequest], HttpResponse]


def livez(request: HttpRequest) -> HttpResponse:
    """The process answers. Looks at nothing."""
    return JsonResponse({"status": "alive"})


def readyz(request: HttpRequest) -> HttpResponse:
    """Whether the service keeps its promises: 200, or 503. `?exclude=worker` asks for this process alone."""
    findings = health.RECENT.look(request.GET.getlist("exclude"))
    status = health.verdict(findings)
    answer: dict[str, Any] = {"status": status}
    if _is_operator(request):
        answer["checks"] = [
            {
                "name": each.name,
                "ok": each.is_ok,
                "required": each.is_required,
                "milliseconds": round(each.seconds * 1000, 1),
                "reason": each.reason,
            }
            for each in findings
        ]
    return JsonResponse(answer, status=503 if status == "unready" else 200)


def metrics(request: HttpRequest) -> HttpResponse:
    """Everything that is counted, as Prometheus reads it."""
    if not _is_operator(request):
        refused = JsonResponse({"status": "unauthorized"}, status=401)
        refused["WWW-Authenticate"] = "Bearer"
        return refused
    return HttpResponse(gauges.text(with_database=True), content_type=CONTENT_TYPE_LATEST)


DOORS: dict[str, Door] = {"/livez": livez, "/readyz": readyz, "/metrics": metrics}


def _is_operator(request: HttpRequest) -> bool:
    headers = {name.lower(): value for name, value in request.headers.items()}
    return access.is_operator(str(request.META.get("REMOTE_ADDR", "")), headers)


@functools.cache
def _executor() -> ThreadPoolExecutor:
    """Threads of its own: whether the service is well must be told while all others wait."""
    return ThreadPoolExecutor(2, thread_name_prefix="operating")


class OperatingDoors:
    """Stands first in the chain."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        door = DOORS.get(request.path)
        if door is None:
            return self.get_response(request)  # type: ignore[no-any-return]
        if iscoroutinefunction(self.get_response):
            return self._later(door, request)
        return _answer(door, request)

    async def _later(self, door: Door, request: HttpRequest) -> HttpResponseBase:
        if door is livez:
            return _answer(door, request)
        return await asyncio.get_running_loop().run_in_executor(_executor(), _answer_and_close, door, request)


def _answer_and_close(door: Door, request: HttpRequest) -> HttpResponse:
    try:
        return _answer(door, request)
    finally:
        connection.close()


def _answer(door: Door, request: HttpRequest) -> HttpResponse:
    response = door(request) if request.method in ("GET", "HEAD") else HttpResponse(status=405)
    response["Cache-Control"] = "no-store"
    response["X-Content-Type-Options"] = "nosniff"
    # Django would write a line for each answer of 400 and above; probes come every few seconds.
    response._has_been_logged = True  # type: ignore[attr-defined]
    return response
