"""A running service with its test key, for SDKs that are used as their users use them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.live.conftest import Service


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service for a module."""
    made = Service(tmp_path_factory.mktemp("service"), {"NBP_REQUESTS_PER_MINUTE": "100000"}).start()
    yield made
    made.kill()


@pytest.fixture
def environment(running: Service) -> dict[str, str]:
    """What a script is told: where the service is, and its key."""
    return {"NBP_ORIGIN": running.base_url, "NBP_API_KEY": running.note["test_key"]}


@pytest.fixture
def bought(running: Service) -> Iterator[Callable[[], int]]:
    """How many images were bought since the test began; afterwards the ledger must add up."""

    def count() -> int:
        data: Any = running.ask("GET", "usage").json()["data"]
        return sum(int(each["image_count"]) for each in data)

    before = count()
    yield lambda: count() - before
    running.audit()
