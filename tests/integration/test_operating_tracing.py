"""Without the extra, tracing is nothing; asked for all the same, it says what is missing."""

from __future__ import annotations

import builtins
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import Client

from generation import measurements
from nbp_site.operating import tracing


@pytest.fixture(autouse=True)
def _started_anew() -> Any:
    tracing.start.cache_clear()
    yield
    tracing.start.cache_clear()


def test_tracing_is_off_unless_asked_for() -> None:
    assert tracing.start() is False
    assert Client().get("/livez").status_code == 200


def test_asked_for_without_the_extra_it_says_what_to_install(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.NBP_OTEL = True
    real = builtins.__import__

    def without(name: str, *arguments: Any, **options: Any) -> Any:
        if name.startswith("opentelemetry"):
            raise ImportError(f"No module named {name!r}")
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImproperlyConfigured, match=r"requirements/otel\.txt"):
        tracing.start()


def test_a_call_needs_no_tracing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measurements, "trace", None)
    with measurements.calling(channel="c", model="m", mode="test"):
        passed = True
    assert passed
    with pytest.raises(KeyError), measurements.calling(channel="c", model="m", mode="test"):
        raise KeyError("as it came")
