"""What every page's template knows about the site and its visitor. Nothing is looked up until a template asks."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cached_property
from typing import Any, cast

from django.conf import settings
from django.http import HttpRequest

from accounts.authentication import Requester
from accounts.models import Account
from accounts.pages.visitors import account_for, is_suspended, user_of
from generation import queries
from generation.contract import Mode

MODE_SESSION_KEY = "mode"


class Visit:
    """The site as one visitor sees it; also what the views of this package ask who is asking."""

    def __init__(self, request: HttpRequest) -> None:
        self._request = request

    @cached_property
    def is_live_open(self) -> bool:
        return queries.live_is_open()

    @cached_property
    def mode(self) -> Mode:
        """What the visitor chose; else live, or test while there is no live channel."""
        session = getattr(self._request, "session", {})
        chosen = session.get(MODE_SESSION_KEY)
        if chosen in ("live", "test"):
            return cast(Mode, chosen)
        return "live" if self.is_live_open else "test"

    @cached_property
    def account(self) -> Account | None:
        return account_for(self._request)

    @cached_property
    def is_suspended(self) -> bool:
        return self.account is not None and is_suspended(self.account)

    @cached_property
    def requester(self) -> Requester | None:
        """The visitor in the chosen mode, or None for strangers and for staff without an account."""
        if self.account is None:
            return None
        return Requester(account=self.account, mode=self.mode, user=user_of(self._request))

    @cached_property
    def wallet(self) -> dict[str, Any] | None:
        return queries.wallet(self.requester) if self.requester else None

    @cached_property
    def image_model_names(self) -> list[str]:
        return [row["id"] for row in queries.image_models(now=datetime.now(UTC))]

    @property
    def signup(self) -> str:
        """open, invite or closed."""
        return str(settings.NBP_SIGNUP)

    @property
    def is_development(self) -> bool:
        return bool(settings.NBP_IS_DEVELOPMENT)


def visit_of(request: HttpRequest) -> Visit:
    """The one `Visit` of a request, for its view and its template alike."""
    if not hasattr(request, "_visit"):
        request._visit = Visit(request)  # type: ignore[attr-defined]
    found: Visit = request._visit  # type: ignore[attr-defined]
    return found


def site(request: HttpRequest) -> dict[str, Any]:
    """The context processor. (`site` itself is a name that allauth's templates already use.)"""
    return {"visit": visit_of(request)}
