"""A message that is none of ours ends nobody: Celery hears of it by the one error on which it drops a message."""

from __future__ import annotations

from typing import Any

import pytest
from celery.exceptions import InvalidTaskError

from generation import tasks
from nbp_site import celery, strangers


def _taking_in(monkeypatch: pytest.MonkeyPatch, outcome: Any) -> Any:
    def take_in(*_: Any) -> Any:
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    monkeypatch.setattr(strangers, "default", lambda *_, **__: take_in)
    return strangers.strategy(None, None, None)


@pytest.mark.parametrize("error", [ValueError("three"), TypeError("no mapping"), KeyError("task"), AttributeError("x")])
def test_what_cannot_be_taken_apart_is_dropped(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    with pytest.raises(InvalidTaskError, match="another shape"):
        _taking_in(monkeypatch, error)("message", None)


def test_what_can_be_is_celerys_own_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _taking_in(monkeypatch, "taken")("message", None) == "taken"
    with pytest.raises(OSError, match="the broker"):
        _taking_in(monkeypatch, OSError("the broker is gone"))("message", None)


def test_every_task_is_taken_in_that_way() -> None:
    assert celery.app.tasks[tasks.run_output.name].Strategy == "nbp_site.strangers:strategy"
