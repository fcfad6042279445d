"""What goes wrong around the threads: processes, the queue, the disk and the clock. Odds inside threads are `machine`'s."""

from __future__ import annotations

from tests.simulator.stage import Move, Stage


class Misfortunes:
    """Moves that nobody wishes for."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._world, self._machine, self._dice, self._note = stage.world, stage.machine, stage.dice, stage.note

    def moves(self) -> dict[str, Move]:
        return {
            "lose": self._lose,
            "double": self._double,
            "flush": self._flush,
            "broker": self._toggle_broker,
            "disk": self._toggle_disk,
            "kill": self._kill,
            "pause": self._pause,
            "continue": self._continue,
            "interrupt": self._interrupt,
            "stall": self._stall,
        }

    # --- the queue and the disk --------------------------------------------------------------------------------------

    def _lose(self) -> bool:
        if not self._world.broker.messages:
            return False
        self._note("a message is lost")
        self._world.broker.lose()
        return True

    def _double(self) -> bool:
        if not self._world.broker.messages:
            return False
        self._note("a message is doubled")
        self._world.broker.double()
        return True

    def _flush(self) -> bool:
        self._note("the broker is flushed")
        self._world.broker.flush()
        return True

    def _toggle_broker(self) -> bool:
        self._world.broker.is_down = not self._world.broker.is_down
        self._note(f"the broker is {'down' if self._world.broker.is_down else 'up'}")
        return True

    def _toggle_disk(self) -> bool:
        self._world.disk.is_full = not self._world.disk.is_full
        self._note(f"the disk is {'full' if self._world.disk.is_full else 'free'}")
        return True

    # --- processes ---------------------------------------------------------------------------------------------------

    def _kill(self) -> bool:
        """kill -9 from outside, wherever its threads are; mostly another process boots in its place."""
        process = self._dice.choice(self._machine.processes)
        place = "upstream" if any(each.place == "upstream" for each in process.threads) else "anywhere"
        self._note(f"{process.name} is killed")
        self._machine.kill(process, place)
        if self._dice.random() < 0.7:
            self._note(f"{self._machine.boot().name} boots")
        self._stage.replace_the_dead()
        return True

    def _pause(self) -> bool:
        """SIGSTOP: it neither works nor beats until it is told to go on."""
        process = self._stage.able()
        if process is None or not process.threads:
            return False
        self._note(f"{process.name} is paused")
        process.is_paused = True
        if self._stage.able() is None:
            self._note(f"{self._machine.boot().name} boots")
        return True

    def _continue(self) -> bool:
        paused = [each for each in self._machine.processes if each.is_paused]
        if not paused:
            return False
        process = self._dice.choice(paused)
        self._note(f"{process.name} goes on")
        process.is_paused = False
        return True

    def _interrupt(self) -> bool:
        """A process that stops breaks its calls off."""
        process = self._stage.able()
        outputs = {each.output_id for each in process.threads if each.place == "upstream"} if process else set()
        calls = [each for each in self._world.upstream.open_calls() if each.output_id in outputs]
        for call in calls:
            self._stage.decide(call, "interrupted")
        return bool(calls)

    def _stall(self) -> bool:
        """The whole machine stands still for longer than a lease: nobody beats."""
        seconds = self._dice.choice((65.0, 130.0))
        self._note(f"nothing moves for {seconds} seconds")
        self._stage.clock.advance(seconds)
        return True
