"""Forms that must be taken once: a ticket in the form, and in the session the tickets already used."""

from __future__ import annotations

import secrets

from django.http import HttpRequest

_SESSION_KEY = "used_tickets"
_REMEMBERED = 50


def new_ticket() -> str:
    """A value for a form's hidden field."""
    return secrets.token_urlsafe(12)


def redeem(request: HttpRequest, ticket: str) -> bool:
    """True the first time this session hands the ticket in; False when a reload or a second click sends it again."""
    used: list[str] = request.session.get(_SESSION_KEY, [])
    if not ticket or ticket in used:
        return False
    request.session[_SESSION_KEY] = [*used, ticket[:40]][-_REMEMBERED:]
    return True
