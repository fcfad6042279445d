"""Requests per minute: a moving window, and an answer also while Redis is down."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from accounts import rate_limits


@pytest.fixture(autouse=True)
def _fresh(settings: Any) -> Iterator[None]:
    settings.NBP_REDIS_URL = ""
    rate_limits._own_limiter.cache_clear()
    rate_limits._shared_limiter.cache_clear()
    rate_limits._own_until[0] = 0.0
    yield
    rate_limits._shared_limiter.cache_clear()
    rate_limits._own_until[0] = 0.0


def test_the_window_fills_and_refuses() -> None:
    states = [rate_limits.hit("a", per_minute=3) for _ in range(4)]
    assert [each.is_allowed for each in states] == [True, True, True, False]
    assert [each.remaining for each in states] == [2, 1, 0, 0]
    assert 1 <= states[-1].reset_seconds <= 60
    assert rate_limits.hit("b", per_minute=3).is_allowed


def test_a_redis_that_is_down_is_asked_now_and_then_and_nobody_gets_a_fault(settings: Any) -> None:
    settings.NBP_REDIS_URL = "redis://127.0.0.1:9/0"
    states = [rate_limits.hit("a", per_minute=2) for _ in range(3)]
    assert [each.is_allowed for each in states] == [True, True, False]
    assert rate_limits._own_until[0] > 0
