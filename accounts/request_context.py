"""The ids of the work in hand, for error bodies and log lines: a request in the web, an output in a worker.

Ids only; never anything that a customer wrote.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

from accounts.identifiers import new_uuid, public_id

# Threads that work for a request get a copy of its context, and with it this very dict.
_ids: ContextVar[dict[str, str] | None] = ContextVar("ids_in_hand", default=None)


def begin() -> str:
    """Name a new request."""
    name = public_id("req", new_uuid())
    _ids.set({"request": name})
    return name


def begin_work(**ids: str) -> None:
    """Name work that no request waits for; what was in hand before is forgotten."""
    _ids.set(dict(ids))


def end_work() -> None:
    """Nothing is in hand any more: a thread that is used again must not carry old names."""
    _ids.set(None)


@contextmanager
def working_on(**ids: str) -> Iterator[None]:
    """Work with these names, and afterwards with those from before."""
    token = _ids.set(dict(ids))
    try:
        yield
    finally:
        _ids.reset(token)


def note(**ids: str) -> None:
    """Add names to what is in hand: `generation`, `output`, `attempt`, `account`. Nothing in hand: nothing happens."""
    in_hand = _ids.get()
    if in_hand is not None:
        in_hand.update(ids)


def current() -> str:
    """The request's id, or an empty text outside a request."""
    return in_hand().get("request", "")


def in_hand() -> Mapping[str, str]:
    """Every name in hand: `{"request": "req_...", "account": "acc_..."}`."""
    return _ids.get() or {}
