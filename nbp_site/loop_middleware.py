"""Django's middleware for the API's handler: the same classes, whose hooks run on the event loop, not in threads.

Only for classes whose hooks compute and never wait: no session, no user, nothing that asks the database.
"""

from __future__ import annotations

from typing import Any

from csp.middleware import CSPMiddleware
from django.http import HttpRequest, HttpResponseBase
from django.middleware.clickjacking import XFrameOptionsMiddleware
from django.middleware.common import CommonMiddleware
from django.middleware.security import SecurityMiddleware


class _OnTheLoop:
    """Stock Django has each hook run in a thread of its own choice; that costs more than the hook."""

    async def __acall__(self: Any, request: HttpRequest) -> HttpResponseBase:
        response: HttpResponseBase | None = None
        if hasattr(self, "process_request"):
            response = self.process_request(request)
        if response is None:
            response = await self.get_response(request)
        if hasattr(self, "process_response"):
            response = self.process_response(request, response)
        return response


class Security(_OnTheLoop, SecurityMiddleware):
    """Redirects to https, and headers that browsers heed."""


class ContentSecurityPolicy(_OnTheLoop, CSPMiddleware):
    """What a browser may do with an answer."""


class Common(_OnTheLoop, CommonMiddleware):
    """Refuses unknown hosts, and says how long an answer is."""


class FrameOptions(_OnTheLoop, XFrameOptionsMiddleware):
    """Nobody frames an answer."""
