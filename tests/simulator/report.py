"""What a seed leaves behind: a report, or a failure that says how to see it again."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

_LAST_LINES = 120


class SimulationFailed(AssertionError):
    """What was found, with the seed and the order of events that lead there again."""

    def __init__(self, seed: int, problems: list[str], trace: list[str]) -> None:
        listed = "\n".join(f"  - {problem}" for problem in problems[:10])
        end = "\n".join(trace[-_LAST_LINES:])
        again = f"SIMULATOR_SEED={seed} .venv/bin/python -m pytest tests/simulator/test_even_seeds.py"
        super().__init__(f"seed {seed}:\n{listed}\nafter\n{end}\nSee it again with {again}")
        self.seed = seed
        self.problems = problems


@dataclass
class Report:
    """What happened in one seed. Counters are by name; `most_together` is the largest group of one transaction."""

    seed: int
    trace: list[str]
    outputs: int = 0
    succeeded: int = 0
    calls: int = 0
    unknown_attempts: int = 0
    unknown_cost_micros: int = 0
    most_together: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    points: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
