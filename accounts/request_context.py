"""The id of the request in hand, for error bodies and logs."""

from __future__ import annotations

from contextvars import ContextVar

from accounts.identifiers import new_uuid, public_id

_current: ContextVar[str] = ContextVar("request_id", default="")


def begin() -> str:
    """Name a new request."""
    name = public_id("req", new_uuid())
    _current.set(name)
    return name


def current() -> str:
    """The request's id, or an empty text outside a request."""
    return _current.get()
