"""A simulation for a test, on the test database's schema."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.simulator.simulation import Simulation, simulation


@pytest.fixture
def simulated(transactional_db: None, tmp_path: Path) -> Iterator[Simulation]:
    """On SQLite a copy in memory; on PostgreSQL the test database itself, flushed afterwards."""
    with simulation(tmp_path) as made:
        yield made
