"""One seed: events in an order that chance decides, checks after each, and a long quiet evening at the end."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from django.db import DataError, OperationalError
from django.db.models import QuerySet

from accounts.identifiers import public_id
from accounts.ledger import budgets
from accounts.ledger.models import Wallet
from generation.channels.models import Channel
from generation.contract import GenerationRequest, ReferenceInput
from generation.models import LIVE_STATES, Attempt, Generation, ImageModel, Output, Price
from tests.simulator import checks
from tests.simulator.clock import Clock
from tests.simulator.machine import Killed, Odds, Process, Thread
from tests.simulator.upstream import ANSWERS, UpstreamCall
from tests.simulator.world import Wish, World

_IMAGE_PRICE_MICROS = 147_400
_MAX_STEPS = 400
_MAX_ROUNDS = 150
_THREADS_PER_PROCESS = 6
# A clock that jumps in such steps lets every living process beat before a lease of a minute ends.
_BEAT_SECONDS = 15.0


class SimulationFailed(AssertionError):
    """What was found, with the seed and the order of events that lead there again."""

    def __init__(self, seed: int, problems: list[str], trace: list[str]) -> None:
        listed = "\n".join(f"  - {problem}" for problem in problems[:10])
        again = f"See it again with SIMULATOR_SEED={seed} make soak."
        super().__init__(f"seed {seed}:\n{listed}\nafter\n" + "\n".join(trace[-120:]) + f"\n{again}")
        self.seed = seed
        self.problems = problems


@dataclass
class Report:
    """What happened in one seed."""

    seed: int
    trace: list[str]
    outputs: int = 0
    succeeded: int = 0
    calls: int = 0
    unknown_attempts: int = 0
    unknown_cost_micros: int = 0
    kills: dict[str, int] = field(default_factory=dict)
    points: dict[str, int] = field(default_factory=dict)
    answers: dict[str, int] = field(default_factory=dict)
    events: dict[str, int] = field(default_factory=dict)
    refusals: dict[str, int] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    most_together: int = 0


class Scheduler:
    """Draws events until the clients have nothing left to ask, then lets everything come to rest."""

    def __init__(self, seed: int, clock: Clock, odds: Odds | None = None) -> None:
        self.seed = seed
        self._odds = odds
        self.dice = random.Random(seed)
        self.trace: list[str] = []
        self.clock = clock
        self.world = World(clock, self.dice, self._note, self._committed)
        self.machine = self.world.machine
        self.events: dict[str, int] = {}
        self._moves: dict[str, Callable[[], bool]] = {
            "go on": self._go_on,
            "deliver": self._deliver,
            "rush": self._rush,
            "ask": self._ask,
            "ask again": self._ask_again,
            "cancel": self._cancel,
            "answer": self._answer,
            "tick": self._tick,
            "sweep": self._sweep,
            "jump": self._jump,
            "stall": self._stall,
            "lose": self._lose,
            "double": self._double,
            "flush": self._flush,
            "broker": self._toggle_broker,
            "kill": self._kill,
            "pause": self._pause,
            "continue": self._continue,
            "interrupt": self._interrupt,
            "disk": self._toggle_disk,
            "operator": self._operate,
        }
        self._acts: dict[str, Callable[[], None]] = {
            "clears a channel": self._clear_channel,
            "switches a channel": self._switch_channel,
            "grants money": self._grant,
            "freezes a wallet or thaws it": self._freeze_wallet,
            "changes a price": self._change_price,
            "changes a budget": self._change_budget,
        }
        self._weights = self._drawn_weights()
        self._answers = self._drawn_answers()
        self._last_answer = self.dice.choice((*["image"] * 12, "failed", "busy", "silence_billed", "refused"))
        self._wishes_left = self.dice.randint(3, 8)

    # --- what kind of day it is --------------------------------------------------------------------------------------

    def _drawn_weights(self) -> dict[str, float]:
        """Each seed has its own mixture, and in most of them some misfortunes do not happen at all."""
        always = {"go on": 60.0, "deliver": 10.0, "ask": 4.0, "answer": 6.0, "tick": 4.0, "sweep": 3.0, "continue": 1.0}
        often = {"rush": 3.0, "ask again": 1.5, "cancel": 1.0, "jump": 1.0, "lose": 0.5, "double": 1.0, "operator": 0.5}
        rarely = {"stall": 0.4, "flush": 0.3, "broker": 0.4, "kill": 0.25, "pause": 0.6, "interrupt": 0.3, "disk": 0.3}
        drawn = {name: weight * self.dice.choice((0, 0.5, 1, 3)) for name, weight in (often | rarely).items()}
        return always | drawn

    def _drawn_answers(self) -> dict[str, float]:
        good = self.dice.choice((0.3, 1.0, 5.0))
        return {name: good if name == "image" else self.dice.choice((0.0, 0.0, 0.1, 0.5)) for name in ANSWERS}

    def _drawn_odds(self) -> Odds:
        dice = self.dice
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

    # --- the run -----------------------------------------------------------------------------------------------------

    def run(self) -> Report:
        dice = self.dice
        self.world.people(
            rich_micros=100_000_000,
            poor_micros=dice.randint(1, 6) * _IMAGE_PRICE_MICROS,
            budget_micros=dice.randint(1, 8) * _IMAGE_PRICE_MICROS,
            cap=dice.randint(1, 4),
        )
        for _ in range(dice.randint(1, 3)):
            self.machine.boot()
        drawn = self._drawn_odds()
        self.machine.odds = self._odds or drawn
        with self.machine.installed():
            for number in range(_MAX_STEPS):
                if number % 10 == 0 and not self._wishes_left and self._is_at_rest():
                    break
                self._step()
            self._come_to_rest()
        with self.machine.aside():
            self._require(list(checks.at_rest(self.world)))
        return self._report()

    def _step(self) -> None:
        name = self.dice.choices(list(self._weights), list(self._weights.values()))[0]
        if not self._moves[name]():
            return
        self.events[name] = self.events.get(name, 0) + 1
        self._look()

    def _look(self) -> None:
        self._require(list(checks.after_step(self.world)))

    def _require(self, problems: list[str]) -> None:
        problems = [*self.world.problems, *problems]
        if problems:
            raise SimulationFailed(self.seed, problems, self.trace)

    def _note(self, text: str) -> None:
        self.trace.append(f"{self.clock.monotonic() - 100_000:9.3f} {text}")

    def _committed(self, world: World) -> None:
        world.problems.extend(checks.after_commit(world))

    def _report(self) -> Report:
        unknown = list(Attempt.objects.filter(status="unknown").values_list("cost_micros", flat=True))
        answers: dict[str, int] = {}
        for call in self.world.upstream.calls:
            answers[call.answer or "nobody waited"] = answers.get(call.answer or "nobody waited", 0) + 1
        refusals: dict[str, int] = {}
        for wish in self.world.wishes:
            for code in wish.refusals:
                refusals[code] = refusals.get(code, 0) + 1
        return Report(
            seed=self.seed,
            trace=self.trace,
            outputs=Output.objects.count(),
            succeeded=Output.objects.filter(state="succeeded").count(),
            calls=len(self.world.upstream.calls),
            unknown_attempts=len(unknown),
            unknown_cost_micros=sum(unknown),
            kills=self.machine.kills,
            points=self.machine.points,
            answers=answers,
            events=self.events,
            refusals=refusals,
            failures=self.machine.failures,
            most_together=self.world.most_together,
        )

    # --- threads -----------------------------------------------------------------------------------------------------

    def _able(self) -> Process | None:
        able = [each for each in self.machine.processes if each.is_able]
        return self.dice.choice(able) if able else None

    def _resume(self, thread: Thread) -> None:
        self.machine.resume(thread)
        self._tend(thread)

    def _tend(self, thread: Thread) -> None:
        """What became of a thread's turn; a process that died is replaced by a new one."""
        if thread.is_over:
            thread.process.threads = [each for each in thread.process.threads if each is not thread]
            if thread.error is not None:
                self.machine.note_cut(thread)
            if thread.error is not None and not isinstance(thread.error, (Killed, OperationalError, DataError)):
                self.world.problems.append(f"{thread} ended with {thread.error!r}")
        self._replace_the_dead()

    def _replace_the_dead(self) -> None:
        if not self.machine.processes:
            self._note(f"{self.machine.boot().name} boots")

    def _go_on(self) -> bool:
        runnable = self.machine.runnable()
        if not runnable:
            return False
        thread = self.dice.choice(runnable)
        self._note(f"{thread} goes on from {thread.place}")
        self.clock.advance(self.dice.choice((0.0, 0.001, 0.02)))
        self._resume(thread)
        return True

    def _deliver(self) -> bool:
        process = self._able()
        if process is None or len(process.threads) >= _THREADS_PER_PROCESS:
            return False
        message = self.world.broker.take(now=self.clock.now, in_order=self.dice.random() < 0.7)
        if message is None:
            return False
        self._note(f"{self.world.label(message.output_id)} is delivered to {process.name}")
        self._resume(self.world.deliver(process, message.output_id))
        return True

    def _rush(self) -> bool:
        """All that waits is delivered at once, so that threads meet at the same transactions."""
        count = 0
        while self._deliver():
            count += 1
        return count > 0

    def _sweep(self) -> bool:
        process = self._able()
        if process is None or sum(each.name == "sweep" for each in process.threads):
            return False
        self._note(f"{process.name} sweeps")
        self._resume(self.world.sweep(process))
        return True

    def _beat_all(self) -> None:
        for process in [each for each in self.machine.processes if each.is_able]:
            if process.is_able:
                thread = self.world.beat(process)
                self.machine.finish(thread)
                self._tend(thread)

    # --- clients -----------------------------------------------------------------------------------------------------

    def _ask(self) -> bool:
        process = self._able()
        if process is None or not self._wishes_left:
            return False
        self._wishes_left -= 1
        wish = self._wish()
        self.world.wishes.append(wish)
        self._note(f"w{wish.number} asks {process.name} for {wish.request.n} x {wish.request.image_size}, {wish.key!r}")
        self._resume(self.world.ask(process, wish))
        return True

    def _wish(self) -> Wish:
        dice, world = self.dice, self.world
        name = dice.choice(("rich", "poor", "capped", "busy"))
        requester = world.requesters[name, dice.choice(("live", "test"))]
        finished = Output.objects.filter(account=requester.account, mode=requester.mode, state="succeeded")
        earlier = list(finished.order_by("pk").values_list("pk", flat=True)) if dice.random() < 0.3 else []
        previous = references = None
        if earlier:
            chosen = public_id("out", dice.choice(earlier))
            previous, references = dice.choice(((chosen, ()), ("", (ReferenceInput(output=chosen),))))
        request = GenerationRequest(
            prompt=dice.choice(("a lighthouse", "a harbour at night")),
            n=dice.choice((1, 1, 2, 4)),
            image_size=dice.choice(("1K", "2K", "4K")),
            previous=previous or "",
            references=references or (),
        )
        number = len(world.wishes) + 1
        key = dice.choice(("", f"key-{number}", f"key-{number}", "shared"))
        return Wish(number, requester, request, key)

    def _ask_again(self) -> bool:
        """The same request under the same key: after no answer, after an answer, or while the first is on its way."""
        keyed = [each for each in self.world.wishes if each.key and each.asked_count < 5]
        process = self._able()
        if not keyed or process is None:
            return False
        wish = self.dice.choice(keyed)
        self._note(f"w{wish.number} asks {process.name} again")
        self._resume(self.world.ask(process, wish))
        return True

    def _cancel(self) -> bool:
        accepted = [each for each in self.world.wishes if each.generation_ids]
        process = self._able()
        if not accepted or process is None:
            return False
        wish = self.dice.choice(accepted)
        generation = Generation.objects.get(pk=self.dice.choice(sorted(wish.generation_ids)))
        self._note(f"w{wish.number} cancels")
        self._resume(self.world.cancel(process, wish, generation))
        return True

    # --- providers ---------------------------------------------------------------------------------------------------

    def _answer(self) -> bool:
        waiting = self.world.upstream.open_calls()
        if not waiting:
            return False
        self._decide(self.dice.choice(waiting), self.dice.choices(list(self._answers), list(self._answers.values()))[0])
        return True

    def _decide(self, call: UpstreamCall, answer: str) -> None:
        call.answer = answer
        self._note(f"call {call.number} is answered: {answer}")
        self.clock.advance(self.dice.choice((0.1, 1.0, 9.0)))

    def _interrupt(self) -> bool:
        """A process that stops breaks its calls off."""
        process = self._able()
        outputs = {each.output_id for each in process.threads if each.place == "upstream"} if process else set()
        calls = [each for each in self.world.upstream.open_calls() if each.output_id in outputs]
        for call in calls:
            self._decide(call, "interrupted")
        return bool(calls)

    # --- time --------------------------------------------------------------------------------------------------------

    def _tick(self) -> bool:
        self.clock.advance(self.dice.choice((0.5, 2.0, 6.0, 12.0)))
        self._beat_all()
        return True

    def _jump(self) -> bool:
        """Past every lease; who lives has kept beating."""
        self._pass(self.dice.choice((31.0, 70.0, 200.0, 700.0)))
        return True

    def _pass(self, seconds: float) -> None:
        self._note(f"{seconds} seconds pass")
        while seconds > 0:
            self.clock.advance(min(seconds, _BEAT_SECONDS))
            seconds -= _BEAT_SECONDS
            self._beat_all()

    def _stall(self) -> bool:
        """The whole machine stands still for longer than a lease: nobody beats."""
        seconds = self.dice.choice((65.0, 130.0))
        self._note(f"nothing moves for {seconds} seconds")
        self.clock.advance(seconds)
        return True

    # --- misfortunes -------------------------------------------------------------------------------------------------

    def _lose(self) -> bool:
        if not self.world.broker.messages:
            return False
        self._note("a message is lost")
        self.world.broker.lose()
        return True

    def _double(self) -> bool:
        if not self.world.broker.messages:
            return False
        self._note("a message is doubled")
        self.world.broker.double()
        return True

    def _flush(self) -> bool:
        self._note("the broker is flushed")
        self.world.broker.flush()
        return True

    def _toggle_broker(self) -> bool:
        self.world.broker.is_down = not self.world.broker.is_down
        self._note(f"the broker is {'down' if self.world.broker.is_down else 'up'}")
        return True

    def _toggle_disk(self) -> bool:
        self.world.disk.is_full = not self.world.disk.is_full
        self._note(f"the disk is {'full' if self.world.disk.is_full else 'free'}")
        return True

    def _kill(self) -> bool:
        """kill -9 from outside, wherever its threads are; sometimes another process boots in its place."""
        process = self.dice.choice(self.machine.processes)
        place = "upstream" if any(each.place == "upstream" for each in process.threads) else "anywhere"
        self._note(f"{process.name} is killed")
        self.machine.kill(process, place)
        if self.dice.random() < 0.7:
            self._note(f"{self.machine.boot().name} boots")
        self._replace_the_dead()
        return True

    def _pause(self) -> bool:
        """SIGSTOP: it neither works nor beats until it is told to go on."""
        process = self._able()
        if process is None or not process.threads:
            return False
        self._note(f"{process.name} is paused")
        process.is_paused = True
        if self._able() is None:
            self._note(f"{self.machine.boot().name} boots")
        return True

    def _continue(self) -> bool:
        paused = [each for each in self.machine.processes if each.is_paused]
        if not paused:
            return False
        process = self.dice.choice(paused)
        self._note(f"{process.name} goes on")
        process.is_paused = False
        return True

    def _operate(self) -> bool:
        """The operator does something while everything is under way."""
        name = self.dice.choice(list(self._acts))
        self._note(f"the operator: {name}")
        self._acts[name]()
        return True

    def _any_channel(self) -> QuerySet[Channel]:
        return Channel.objects.filter(name=self.dice.choice(("first", "second", "first test", "sandbox")))

    def _clear_channel(self) -> None:
        self._any_channel().update(disabled_reason="", failures_in_a_row=0, cool_until=None)

    def _switch_channel(self) -> None:
        channel = self._any_channel()
        channel.update(is_enabled=not channel.get().is_enabled)

    def _grant(self) -> None:
        requester = self.world.requesters["poor", self.dice.choice(("live", "test"))]
        self.world.grant(requester.account, requester.mode, _IMAGE_PRICE_MICROS)

    def _freeze_wallet(self) -> None:
        """A frozen wallet takes no holds; what is under way settles."""
        requester = self.world.requesters["rich", self.dice.choice(("live", "test"))]
        wallet = Wallet.objects.filter(account=requester.account, mode=requester.mode)
        wallet.update(status="active" if wallet.get().status == "frozen" else "frozen")

    def _change_price(self) -> None:
        """What was quoted counts, whatever an image costs by the time it comes."""
        size = self.dice.choice(("1K", "2K", "4K"))
        model = ImageModel.objects.get(is_default=True)
        Price.objects.get_or_create(
            image_model=model,
            image_size=size,
            valid_from=self.clock.now,
            defaults={"image_micros": self.dice.randint(1, 300_000), "reference_micros": 1_100},
        )

    def _change_budget(self) -> None:
        requester = self.world.requesters["capped", self.dice.choice(("live", "test"))]
        assert requester.api_key is not None
        budgets.change(
            requester.api_key, budget_micros=self.dice.randint(0, 8) * _IMAGE_PRICE_MICROS, now=self.clock.now
        )
        requester.api_key.refresh_from_db()

    # --- the end -----------------------------------------------------------------------------------------------------

    def _come_to_rest(self) -> None:
        """No more misfortunes: whoever sleeps wakes, the broker and the disk are back, providers keep to one answer."""
        self._note("from here on nothing goes wrong")
        self.machine.odds = Odds(park=0.02, park_at_transaction=0.3, park_at_point=0.1, kill_at_point=0.0)
        for process in self.machine.processes:
            process.is_paused = False
        self.world.broker.is_down = self.world.disk.is_full = False
        Channel.objects.update(is_enabled=True, disabled_reason="")
        self._ask_for_every_answer()
        for _ in range(_MAX_ROUNDS):
            self._drain()
            if self._is_at_rest():
                return
            self._pass(self.dice.choice((3.0, 12.0, 45.0)))
            self._sweep()
        self._require(["this does not come to rest", *checks.at_rest(self.world)])

    def _ask_for_every_answer(self) -> None:
        """Whoever has a key and was never answered asks once more, and now hears what became of it."""
        for wish in self.world.wishes:
            if wish.key and wish.unanswered_count and not (wish.generation_ids or wish.refusals):
                self._note(f"w{wish.number} asks once more")
                self._resume(self.world.ask(self.machine.processes[0], wish))

    def _drain(self) -> None:
        """Work off all there is to do without the clock."""
        while True:
            for call in self.world.upstream.open_calls():
                self._decide(call, self._last_answer)
            if not self._go_on() and not self._deliver():
                self._look()
                return

    def _is_at_rest(self) -> bool:
        return not (
            any(process.threads for process in self.machine.processes)
            or Output.objects.filter(state__in=LIVE_STATES).exists()
            or Attempt.objects.filter(status="sent").exists()
        )
