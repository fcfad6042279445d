"""The simulator itself: the same seed is the same run, and it comes to every place where a process may die."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from accounts import crash_points
from tests.simulator.machine import Odds
from tests.simulator.report import Report
from tests.simulator.simulation import Simulation
from tests.simulator.upstream import ANSWERS

_MANY = 40
_QUIET = Odds(park=0.05, park_at_transaction=0.3, park_at_point=0.5, kill_at_point=0.0)


def test_the_same_seed_is_the_same_run_and_another_seed_another(simulated: Simulation) -> None:
    first, second, other = simulated.run(11), simulated.run(11), simulated.run(12)
    assert first.trace == second.trace
    assert (first.outputs, first.calls, first.answers) == (second.outputs, second.calls, second.answers)
    assert len(first.trace) > 50
    assert other.trace != first.trace


@pytest.mark.timeout(300)
@pytest.mark.parametrize("point", crash_points.NAMES)
def test_processes_die_at_every_crash_point(simulated: Simulation, point: str) -> None:
    """A point that the road does not reach any more, or that no rule survives, shows here by its name."""
    # The image comes before its settlement only where the settlement was refused.
    refuse = 0.04 if point == "keep.received" else 0.0
    for seed in range(_MANY):
        report = simulated.run(seed, replace(_QUIET, deadly_point=point, refuse_statement=refuse))
        if report.kills[point]:
            return
    raise AssertionError(f"no process died at {point} in {_MANY} seeds")


@pytest.mark.timeout(300)
def test_a_few_dozen_seeds_see_every_misfortune(simulated: Simulation) -> None:
    """Threads meet in one transaction, providers give every answer, clients hear every refusal that is about money."""
    wanted = {*ANSWERS, "nobody waited", "insufficient_credit", "budget_exceeded", "pause", "continue", "stall"}
    wanted |= {"rush", "jump", "lose", "double", "flush", "broker", "kill", "interrupt", "disk", "operator", "cancel"}
    wanted |= {"ask again", "the connection was lost after the commit", "database is locked", "together"}
    for seed in range(1000, 1000 + 2 * _MANY):
        report = simulated.run(seed)
        wanted -= set(_everything(report))
        wanted -= {"together"} if report.most_together > 1 else set()
        if not wanted:
            return
    raise AssertionError(f"never seen: {wanted}")


def _everything(report: Report) -> Counter[str]:
    return report.answers + report.events + report.refusals + report.failures
