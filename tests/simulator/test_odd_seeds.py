"""The odd seeds: every prompt ends in an image charged once or in a failure that costs nothing, whatever happens."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.simulator.seeds import chunks
from tests.simulator.simulation import Simulation


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seeds", chunks(half=1), ids=lambda seeds: f"{seeds[0]} to {seeds[-1]}")
def test_all_comes_to_rest_and_adds_up(simulated: Simulation, seeds: Sequence[int]) -> None:
    for seed in seeds:
        simulated.run(seed)
