"""Reads what Black Forest Labs say in the body of an error, and what it means where work has begun already.

https://docs.bfl.ai/api_integration/errors
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from generation.channels.adapters.bfl.answer import MISSING, WORKING, Reading, Task
from generation.channels.adapters.failures import Told, answered, kind_of, redacted
from generation.channels.adapters.http_json import Refused, items, mapping, text
from generation.contract import ChannelError

# Out of money, or a wrong key, whatever the status.
_OURS = ("insufficient credits", "not enough credits", "not authenticated", "invalid authentication", "invalid api key")


def tell(error: Exception) -> Told:
    """What an answered error says: a sentence, or a list of fields that are wrong."""
    detail = mapping(error.body).get("detail") if isinstance(error, Refused) else None
    if isinstance(detail, str):
        is_ours = any(each in detail.lower() for each in _OURS)
        return Told(message=detail, kind="unauthorized" if is_ours else None)
    return Told(message="; ".join(_field(each) for each in items(detail)))


def _field(found: Any) -> str:
    where = ".".join(str(each) for each in items(mapping(found).get("loc")))
    message = text(mapping(found).get("msg"))
    return f"{where}: {message}" if where else message


def while_working(error: Refused, task: Task, secret: str) -> Reading:
    """How far a task is by a refused question. Raises ChannelError where no question would be answered.

    The work itself has been paid for: however free this answer is, what became of the picture is unknown.
    """
    if error.status == 404:
        return MISSING
    if kind_of(error.status) in ("busy", "failed"):
        return WORKING
    raise answered(error.status, replace(tell(error), kind="unknown"), {}, secret, task.id)


def failed(reading: Reading, task: Task, secret: str) -> ChannelError:
    """The upstream itself says that its work came to nothing."""
    message = redacted(f"the task ended with {reading.word}", secret)
    return ChannelError("failed", message, upstream_request_id=task.id)


def lost(task: Task) -> ChannelError:
    """The upstream does not know the task: nothing more can come of an old one, while a new one may be at work."""
    if task.is_followed:
        return ChannelError("failed", "the upstream knows the task no more", upstream_request_id=task.id)
    return ChannelError("unknown", "the upstream does not know the task it accepted", upstream_request_id=task.id)
