"""What kind of day a seed is: how much money there is, which misfortunes happen at all, and how often."""

from __future__ import annotations

import random
from dataclasses import dataclass

from tests.simulator.machine import Odds
from tests.simulator.upstream import ANSWERS

# About what a 2K image costs.
IMAGE_PRICE_MICROS = 147_400

_ALWAYS = {"go on": 60.0, "deliver": 10.0, "ask": 4.0, "answer": 6.0, "tick": 4.0, "sweep": 3.0, "continue": 1.0}
_OFTEN = {"rush": 3.0, "ask again": 1.5, "cancel": 1.0, "jump": 1.0, "lose": 0.5, "double": 1.0, "operator": 0.5}
_RARELY = {"stall": 0.4, "flush": 0.3, "broker": 0.4, "kill": 0.25, "pause": 0.6, "interrupt": 0.3, "disk": 0.3}


@dataclass(frozen=True)
class Day:
    """Weights of events and answers, odds of what goes wrong inside threads, and how much there is of everything."""

    weights: dict[str, float]
    answers: dict[str, float]
    odds: Odds
    last_answer: str
    wish_count: int
    process_count: int
    poor_micros: int
    budget_micros: int
    running_cap: int


def drawn(dice: random.Random) -> Day:
    """Each seed has its own mixture, and in most of them some misfortunes do not happen at all."""
    weights = {name: weight * dice.choice((0, 0.5, 1, 3)) for name, weight in (_OFTEN | _RARELY).items()}
    good = dice.choice((0.3, 1.0, 5.0))
    return Day(
        weights=_ALWAYS | weights,
        answers={name: good if name == "image" else dice.choice((0.0, 0.0, 0.1, 0.5)) for name in ANSWERS},
        odds=_odds(dice),
        # How providers answer in the end, when nothing else goes wrong any more.
        last_answer=dice.choice((*["image"] * 12, "failed", "busy", "silence_billed", "refused")),
        wish_count=dice.randint(3, 8),
        process_count=dice.randint(1, 3),
        poor_micros=dice.randint(1, 6) * IMAGE_PRICE_MICROS,
        budget_micros=dice.randint(1, 8) * IMAGE_PRICE_MICROS,
        running_cap=dice.randint(1, 4),
    )


def _odds(dice: random.Random) -> Odds:
    return Odds(
        park=dice.choice((0.02, 0.1, 0.3)),
        park_at_transaction=dice.choice((0.05, 0.5, 1.0)),
        park_at_point=dice.choice((0.3, 1.0)),
        kill_at_point=dice.choice((0.0, 0.02, 0.08)),
        kill_at_statement=dice.choice((0.0, 0.0, 0.002)),
        lose_connection=dice.choice((0.0, 0.0, 0.0, 0.004)),
        lose_commit=dice.choice((0.0, 0.0, 0.0, 0.02)),
        refuse_statement=dice.choice((0.0, 0.0, 0.0, 0.01)),
    )
