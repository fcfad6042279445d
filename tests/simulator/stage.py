"""Where a seed is played: threads go on, messages are delivered, time passes, providers answer. Nothing goes wrong here."""

from __future__ import annotations

from collections.abc import Callable

from django.db import DataError, OperationalError

from tests.simulator.day import Day
from tests.simulator.machine import Killed
from tests.simulator.processes import Process, Thread
from tests.simulator.upstream import UpstreamCall
from tests.simulator.world import World

Move = Callable[[], bool]
_THREADS_PER_PROCESS = 6
# A clock that jumps in such steps lets every living process beat before a lease of a minute ends.
_BEAT_SECONDS = 15.0


class Stage:
    """Moves that make work go on. A move answers whether there was anything to move."""

    def __init__(self, world: World, day: Day) -> None:
        self.world, self.day = world, day
        self.machine, self.clock, self.dice, self.note = world.machine, world.clock, world.dice, world.note

    def moves(self) -> dict[str, Move]:
        return {
            "go on": self.go_on,
            "deliver": self.deliver,
            "rush": self._rush,
            "sweep": self.sweep,
            "answer": self._answer,
            "tick": self._tick,
            "jump": self._jump,
        }

    # --- threads -----------------------------------------------------------------------------------------------------

    def able(self) -> Process | None:
        """A process that can do something now, if there is one."""
        able = [each for each in self.machine.processes if each.is_able]
        return self.dice.choice(able) if able else None

    def resume(self, thread: Thread) -> None:
        """Give a thread its turn, and see what became of it."""
        self.machine.resume(thread)
        self._tend(thread)

    def _tend(self, thread: Thread) -> None:
        if thread.is_over:
            thread.process.threads = [each for each in thread.process.threads if each is not thread]
            if thread.error is not None:
                self.machine.note_cut(thread)
            if thread.error is not None and not isinstance(thread.error, (Killed, OperationalError, DataError)):
                self.world.problems.append(f"{thread} ended with {thread.error!r}")
        self.replace_the_dead()

    def replace_the_dead(self) -> None:
        """Somebody is always there."""
        if not self.machine.processes:
            self.note(f"{self.machine.boot().name} boots")

    def go_on(self) -> bool:
        """One of the threads that could go on does."""
        runnable = self.machine.runnable()
        if not runnable:
            return False
        thread = self.dice.choice(runnable)
        self.note(f"{thread} goes on from {thread.place}")
        self.clock.advance(self.dice.choice((0.0, 0.001, 0.02)))
        self.resume(thread)
        return True

    def deliver(self) -> bool:
        """A message comes to a worker, mostly in the order they were sent."""
        process = self.able()
        if process is None or len(process.threads) >= _THREADS_PER_PROCESS:
            return False
        message = self.world.broker.take(now=self.clock.now, in_order=self.dice.random() < 0.7)
        if message is None:
            return False
        self.note(f"{self.world.label(message.output_id)} is delivered to {process.name}")
        self.resume(self.world.deliver(process, message.output_id))
        return True

    def _rush(self) -> bool:
        """All that waits is delivered at once, so that threads meet at the same transactions."""
        count = 0
        while self.deliver():
            count += 1
        return count > 0

    def sweep(self) -> bool:
        """A process sweeps; another one may be in the middle of that."""
        process = self.able()
        if process is None or any(each.name == "sweep" for each in process.threads):
            return False
        self.note(f"{process.name} sweeps")
        self.resume(self.world.sweep(process))
        return True

    # --- providers ---------------------------------------------------------------------------------------------------

    def _answer(self) -> bool:
        waiting = self.world.upstream.open_calls()
        if not waiting:
            return False
        answers = self.day.answers
        self.decide(self.dice.choice(waiting), self.dice.choices(list(answers), list(answers.values()))[0])
        return True

    def decide(self, call: UpstreamCall, answer: str) -> None:
        """How a call ends; its worker hears of it when it goes on."""
        call.answer = answer
        self.note(f"call {call.number} is answered: {answer}")
        self.clock.advance(self.dice.choice((0.1, 1.0, 9.0)))

    # --- time --------------------------------------------------------------------------------------------------------

    def _tick(self) -> bool:
        self.clock.advance(self.dice.choice((0.5, 2.0, 6.0, 12.0)))
        self._beat()
        return True

    def _jump(self) -> bool:
        """Past every lease; who lives has kept beating."""
        self.wait(self.dice.choice((31.0, 70.0, 200.0, 700.0)))
        return True

    def wait(self, seconds: float) -> None:
        """Time passes, and the heartbeats of the living go on meanwhile."""
        self.note(f"{seconds} seconds pass")
        while seconds > 0:
            self.clock.advance(min(seconds, _BEAT_SECONDS))
            seconds -= _BEAT_SECONDS
            self._beat()

    def _beat(self) -> None:
        for process in list(self.machine.processes):
            if process.is_able:
                thread = self.world.beat(process)
                self.machine.finish(thread)
                self._tend(thread)
