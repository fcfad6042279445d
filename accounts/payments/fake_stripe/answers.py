"""How the fake answers: errors in Stripe's form, objects with what was asked to be expanded, lists in pages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from accounts.payments.fake_stripe.store import Book, Object


class Wrong(Exception):
    """An error answer: HTTP status and the body's `error`."""

    def __init__(self, status: int, message: str, *, code: str = "", kind: str = "invalid_request_error", **more: Any):
        super().__init__(message)
        self.status = status
        error = {"type": kind, "message": message, **more}
        self.body = {"error": error | ({"code": code} if code else {})}


def missing(kind: str, object_id: str) -> Wrong:
    return Wrong(404, f"No such {kind}: '{object_id}'", code="resource_missing", param="id")


def the(book: Book, kind: str, object_id: str) -> Object:
    """An object that must be there."""
    found = book.get(object_id)
    if found is None or found["object"] != kind:
        raise missing(kind, object_id)
    return found


def shown(book: Book, found: Object, expand: Sequence[str] = ()) -> Object:
    """An object as it is answered: without its own secrets, with the fields that were asked for unfolded."""
    answer = {name: value for name, value in found.items() if not name.startswith("_")}
    for path in expand:
        name, _, rest = path.partition(".")
        inner = answer.get(name)
        unfolded = book.get(inner) if isinstance(inner, str) else None
        if unfolded is not None:
            answer[name] = shown(book, unfolded, [rest] if rest else [])
    return answer


def page(
    book: Book, found: Sequence[Object], asked: dict[str, Any], url: str, keep: Callable[[Object], bool]
) -> dict[str, Any]:
    """A page of a list, after the object named `starting_after`."""
    created = asked.get("created", {})
    since = int(created.get("gte", 0)) if isinstance(created, dict) else 0
    rows = [each for each in found if each["created"] >= since and keep(each)]
    after = asked.get("starting_after")
    if after:
        places = [place for place, each in enumerate(rows) if each["id"] == after]
        rows = rows[places[0] + 1 :] if places else []
    limit = int(asked.get("limit", 10))
    expand = [each.removeprefix("data.") for each in asked.get("expand", []) if each.startswith("data.")]
    return {
        "object": "list",
        "url": url,
        "has_more": len(rows) > limit,
        "data": [shown(book, each, expand) for each in rows[:limit]],
    }
