"""One seed: events in an order that chance decides, checks after each, and a long quiet evening at the end."""

from __future__ import annotations

import random
from collections import Counter

from generation.channels.models import Channel
from generation.models import LIVE_STATES, Attempt, Output
from tests.simulator import checks, day
from tests.simulator.clock import Clock
from tests.simulator.machine import Odds
from tests.simulator.misfortunes import Misfortunes
from tests.simulator.people import Clients, Operator
from tests.simulator.report import Report, SimulationFailed
from tests.simulator.stage import Stage
from tests.simulator.world import World

_MAX_STEPS = 400
_MAX_ROUNDS = 150
_QUIET = Odds(park=0.02, park_at_transaction=0.3, park_at_point=0.1, kill_at_point=0.0)


class Scheduler:
    """Draws events until the clients have nothing left to ask, then lets everything come to rest.

    `odds` replaces what the seed has drawn for misfortunes inside threads.
    """

    def __init__(self, seed: int, clock: Clock, odds: Odds | None = None) -> None:
        self.seed, self._clock = seed, clock
        self._dice = random.Random(seed)
        self._trace: list[str] = []
        self._events: Counter[str] = Counter()
        self.world = World(clock, self._dice, self._note, self._committed)
        self.machine = self.world.machine
        self._day = day.drawn(self._dice)
        self._odds = odds or self._day.odds
        self._stage = Stage(self.world, self._day)
        self._clients = Clients(self._stage)
        actors = (self._stage, self._clients, Misfortunes(self._stage), Operator(self._stage))
        self._moves = {name: move for actor in actors for name, move in actor.moves().items()}

    def run(self) -> Report:
        """Play the day. Raises SimulationFailed."""
        self.world.furnish_wallets(
            poor_micros=self._day.poor_micros, budget_micros=self._day.budget_micros, cap=self._day.running_cap
        )
        for _ in range(self._day.process_count):
            self.machine.boot()
        self.machine.odds = self._odds
        with self.machine.installed():
            try:
                self._play()
            finally:
                self.machine.power_off()
        self._require(list(checks.at_rest(self.world)))
        return self._report()

    def _play(self) -> None:
        for number in range(_MAX_STEPS):
            if number % 10 == 0 and not self._clients.wishes_left and self._is_at_rest():
                break
            self._step()
        self._come_to_rest()

    def _step(self) -> None:
        weights = self._day.weights
        name = self._dice.choices(list(weights), list(weights.values()))[0]
        if self._moves[name]():
            self._events[name] += 1
            self._look()

    def _look(self) -> None:
        self._require(list(checks.after_step(self.world)))

    def _require(self, problems: list[str]) -> None:
        problems = [*self.world.problems, *problems]
        if problems:
            raise SimulationFailed(self.seed, problems, self._trace)

    def _note(self, text: str) -> None:
        self._trace.append(f"{self._clock.seconds:9.3f} {text}")

    def _committed(self, world: World) -> None:
        world.problems.extend(checks.after_commit(world))

    # --- the end -----------------------------------------------------------------------------------------------------

    def _come_to_rest(self) -> None:
        """No more misfortunes: whoever sleeps wakes, the broker and the disk are back, providers keep to one answer."""
        self._note("from here on nothing goes wrong")
        self.machine.odds = _QUIET
        for process in self.machine.processes:
            process.is_paused = False
        self.world.broker.is_down = self.world.disk.is_full = False
        Channel.objects.update(is_enabled=True, disabled_reason="")
        self._clients.ask_for_every_answer()
        for _ in range(_MAX_ROUNDS):
            self._drain()
            if self._is_at_rest():
                return
            self._stage.wait(self._dice.choice((3.0, 12.0, 45.0)))
            self._stage.sweep()
        self._require(["this does not come to rest", *checks.at_rest(self.world)])

    def _drain(self) -> None:
        """Work off all there is to do without the clock."""
        is_moving = True
        while is_moving:
            for call in self.world.upstream.open_calls():
                self._stage.decide(call, self._day.last_answer)
            is_moving = self._stage.go_on() or self._stage.deliver()
        self._look()

    def _is_at_rest(self) -> bool:
        return not (
            any(process.threads for process in self.machine.processes)
            or Output.objects.filter(state__in=LIVE_STATES).exists()
            or Attempt.objects.filter(status=Attempt.Status.SENT).exists()
        )

    def _report(self) -> Report:
        calls = self.world.upstream.calls
        unknown = Attempt.objects.filter(status=Attempt.Status.UNKNOWN).values_list("cost_micros", flat=True)
        return Report(
            seed=self.seed,
            trace=self._trace,
            outputs=Output.objects.count(),
            succeeded=Output.objects.filter(state="succeeded").count(),
            calls=len(calls),
            unknown_attempts=len(unknown),
            unknown_cost_micros=sum(unknown),
            most_together=self.world.most_together,
            kills=self.machine.kills,
            points=self.machine.points,
            answers=Counter(call.answer or "nobody waited" for call in calls),
            events=self._events,
            refusals=Counter(code for wish in self.world.wishes for code in wish.refusals),
            failures=self.machine.failures,
        )
