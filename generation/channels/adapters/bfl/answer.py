"""Reads what Black Forest Labs answer: the task that a request became, and how far it is; it never asks or fetches."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from generation.channels.adapters import costs
from generation.channels.adapters.http_json import mapping, text

State = Literal["working", "ready", "refused", "failed", "missing"]

MICROS_PER_CREDIT = 10_000
# Whatever else they say, now or in future, is work that goes on.
_ENDS: Mapping[str, State] = {
    "ready": "ready",
    "request moderated": "refused",
    "content moderated": "refused",
    "error": "failed",
    "failed": "failed",
    "task not found": "missing",
}
_WORD_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Task:
    """Work that is under way. `is_followed` is whether an earlier attempt began it."""

    id: str
    polling_url: str
    cost_micros: int | None = None
    is_followed: bool = False

    @property
    def handle(self) -> str:
        """What a later attempt needs to follow it, as JSON."""
        return json.dumps({"id": self.id, "polling_url": self.polling_url})


@dataclass(frozen=True, slots=True)
class Reading:
    """How far a task is. `word` is the upstream's own, with its reasons; `sample` is a link to the picture."""

    state: State
    word: str = ""
    sample: str = ""
    cost_micros: int | None = None

    @property
    def finish(self) -> Literal["ok", "refused", "no_image"]:
        """What an ended task came to."""
        if self.state == "refused":
            return "refused"
        return "ok" if self.sample else "no_image"


WORKING, MISSING = Reading("working"), Reading("missing")


def read_task(body: Any) -> Task:
    """The task that a request became. Raises ValueError for an answer that names none."""
    found = mapping(body)
    polling_url = text(found.get("polling_url"))
    if not polling_url:
        raise ValueError("the answer does not say where to ask for the picture")
    return Task(text(found.get("id")), polling_url, _cost(found))


def task_of(handle: str) -> Task:
    """The task that an earlier attempt left. Raises ValueError for what is no handle of ours."""
    task = read_task(json.loads(handle))
    return Task(task.id, task.polling_url, is_followed=True)


def read(body: Any) -> Reading:
    """How far a task is. Raises ValueError for what does not say it."""
    found = mapping(body)
    status = text(found.get("status"))
    if not status:
        raise ValueError("the answer says nothing of the task")
    state = _ENDS.get(status.strip().lower(), "working")
    if state != "ready":
        return Reading(state, _word(status, found.get("details")), cost_micros=_cost(found))
    result = found.get("result")
    if not isinstance(result, dict):
        raise ValueError("the answer says that a picture is ready and brings no result")
    return Reading(state, status, text(result.get("sample")), _cost(found))


def _word(status: str, details: Any) -> str:
    """The status with the reasons for it where there are some."""
    reasons = mapping(details).get("Moderation Reasons", details)
    if isinstance(reasons, list):
        reasons = ", ".join(str(each) for each in reasons)
    elif isinstance(reasons, dict):
        reasons = json.dumps(reasons) if reasons else ""
    return (f"{status}: {reasons}" if reasons else status)[:_WORD_CHARACTERS]


def _cost(body: Mapping[str, Any]) -> int | None:
    return costs.micros(body.get("cost"), micros_per_unit=MICROS_PER_CREDIT)
