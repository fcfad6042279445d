"""What all fault tests share: the picture of the rows that a generation left behind, and upstreams that misbehave."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from generation.egress import loop
from tests.faults.houses import (  # noqa: F401
    embedded,
    gemini,
    grown_up,
    house,
    make_embedded,
    make_grown_up,
    module_embedded,
    module_gemini,
    module_grown_up,
    postgresql,
    redis_server,
)
from tests.faults.pictures import Picture, picture_of
from tests.faults.upstreams import Upstream
from tests.upstreams.speakers import SPEAKERS, Fake


@pytest.fixture
def rows() -> Callable[[uuid.UUID], Picture]:
    """rows(generation_id) is a `tests.faults.pictures.Picture`: states, attempts, holds, entries, charges and wallet."""
    return picture_of


@pytest.fixture(scope="session")
def start_fake() -> Iterator[Callable[..., Fake]]:
    """start_fake(kind, name="first") is a running stand-in of that name, the same one in all tests of the run."""
    started: dict[tuple[str, str], Fake] = {}

    def start(kind: str, name: str = "first") -> Fake:
        if (kind, name) not in started:
            started[kind, name] = SPEAKERS[kind].fake()
            started[kind, name].start()
        fake = started[kind, name]
        fake.script.clear()
        fake.requests.clear()
        fake.fault_for = None
        return fake

    yield start
    for fake in started.values():
        fake.stop()
    loop.stop()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """What upstreams do is tried with each adapter; what money and races do, with one of them."""
    if "upstream" in metafunc.fixturenames:
        is_about_upstreams = metafunc.module.__name__.rpartition(".")[2].startswith("test_d_")
        metafunc.parametrize("upstream", sorted(SPEAKERS) if is_about_upstreams else ["gemini"], indirect=True)


@pytest.fixture
def upstream(
    request: pytest.FixtureRequest, alice: Any, queue: Any, settings: Any, start_fake: Callable[..., Fake]
) -> Iterator[Upstream]:
    """A live channel to a stand-in, for each adapter that speaks HTTP. No call leaves a file in the spool."""
    found = Upstream(request.param, start_fake(request.param), alice, queue, Path(settings.NBP_SPOOL_DIR))
    yield found
    assert found.left_behind() == []
