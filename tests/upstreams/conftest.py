"""The harness in which every adapter is tried against its stand-in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from generation.egress import loop
from tests.upstreams.contract import Drawn, Harness
from tests.upstreams.speakers import WAYS


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Drawn:
    return Drawn(monkeypatch)


@pytest.fixture
def harness(request: pytest.FixtureRequest, tmp_path: Path, drawn: Drawn) -> Iterator[Harness]:
    """One way of asking. Clients, connections and tokens belong to the loop: each test begins without any."""
    found = Harness(WAYS[request.param], tmp_path, drawn)
    found.fake.start()
    yield found
    found.fake.stop()
    loop.stop()
