"""Processes and their threads as greenlets of one real thread, so that the simulator decides who goes on and who dies.

A thread may lose its turn before any statement outside a transaction, before any transaction, and at every crash point.
Inside a transaction nobody else runs (there is one connection), but a process may die there: that rolls back.
"""

from __future__ import annotations

import random
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from django.db import DatabaseError, DataError, OperationalError, connection, transaction
from greenlet import getcurrent

from accounts import crash_points
from tests.simulator.clock import Clock
from tests.simulator.processes import Memory, Process, Thread, per_process_names

_REAL_CLOCKS = ("STRFTIME", "CURRENT_TIMESTAMP", "STATEMENT_TIMESTAMP", "CLOCK_TIMESTAMP", "NOW()")


class Killed(BaseException):
    """The process is gone (kill -9): no handler of the product's may notice."""


@dataclass(frozen=True, slots=True)
class Odds:
    """How often, between 0 and 1, what goes wrong inside a thread."""

    park: float = 0.05
    park_at_transaction: float = 0.2
    park_at_point: float = 0.5
    kill_at_point: float = 0.02
    deadly_point: str = ""
    kill_at_statement: float = 0.0
    lose_connection: float = 0.0
    lose_commit: float = 0.0
    refuse_statement: float = 0.0


class Machine:
    """Starts, resumes and kills. `note` keeps the trace; `committed` is called after each commit of a thread."""

    def __init__(
        self, clock: Clock, dice: random.Random, note: Callable[[str], None], committed: Callable[[], None]
    ) -> None:
        self.clock, self.odds = clock, Odds()
        self._dice, self._note, self._committed = dice, note, committed
        self._hub = getcurrent()
        self._memory: Memory | None = None
        self._places = per_process_names()
        # Whether money, states or attempts were written since somebody last looked.
        self.has_moved_money = self.has_written = self.has_sent = True
        self.current: Thread | None = None
        self.processes: list[Process] = []
        self.kills: Counter[str] = Counter()
        self.points: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self._known: set[str] = set()
        # The outputs whose workers died or lost the database on the way, once for each time.
        self.cut_short: list[uuid.UUID] = []
        self._started = 0

    # --- life and death ----------------------------------------------------------------------------------------------

    def boot(self) -> Process:
        """A new process; its name is one that no process had."""
        self._started += 1
        name = f"p{self._started}"
        process = Process(name, Memory(name, self._places))
        self.processes.append(process)
        return process

    def start(
        self, process: Process, name: str, work: Callable[[], Any], *, output_id: uuid.UUID | None = None
    ) -> Thread:
        """A new thread of a process, which begins when it is first resumed."""
        thread = Thread(process, name, work, output_id)
        process.threads.append(thread)
        return thread

    def runnable(self) -> list[Thread]:
        """Threads that could go on now."""
        return [
            thread
            for process in self.processes
            if process.is_able
            for thread in process.threads
            if not thread.is_over and thread.is_ready()
        ]

    def resume(self, thread: Thread) -> None:
        """Let a thread go on to where it next loses its turn, ends or dies."""
        if self._memory is not thread.process.memory:
            self._memory = thread.process.memory
            self._memory.install()
        self.current = thread
        try:
            thread.greenlet.switch()
        finally:
            self.current = None
        assert not connection.in_atomic_block, f"{thread} lost its turn inside a transaction, at {thread.place}"
        if thread.process.is_dead:
            self._bury(thread.process)

    def finish(self, thread: Thread) -> None:
        """Let a thread run to its end; nothing else happens meanwhile."""
        while not thread.is_over and thread.process.is_able and thread.is_ready():
            self.resume(thread)

    def kill(self, process: Process, place: str) -> None:
        """kill -9, from outside."""
        self.kills[place] += 1
        process.is_dead = True
        self._bury(process)

    def power_off(self) -> None:
        """Nobody is left waiting for a turn when the day is over, however it ended."""
        for process in list(self.processes):
            process.is_dead = True
            self._bury(process)

    def _bury(self, process: Process) -> None:
        for thread in process.threads:
            # A thread that never began has nothing to die of.
            while thread.greenlet and not thread.is_over:
                self.current = thread
                self.note_cut(thread)
                thread.greenlet.throw(Killed())
                self.current = None
        assert not connection.in_atomic_block
        if process in self.processes:
            self.processes.remove(process)

    def _die(self, thread: Thread, place: str) -> None:
        self.kills[place] += 1
        self._note(f"{thread} dies at {place}")
        self.note_cut(thread)
        thread.process.is_dead = True
        raise Killed

    def note_cut(self, thread: Thread) -> None:
        """Its call may never have been made, and its file may lie there without a row."""
        if thread.output_id is not None:
            self.cut_short.append(thread.output_id)

    # --- called from inside threads ----------------------------------------------------------------------------------

    def wait(self, place: str, is_ready: Callable[[], bool], timeout: float | None = None) -> None:
        """Lose the turn until something is so, or until `timeout` seconds have passed."""
        assert not connection.in_atomic_block, f"a thread waits for {place} with a transaction open"
        until = None if timeout is None else self.clock.monotonic() + timeout
        self._park(place, lambda: is_ready() or (until is not None and self.clock.monotonic() >= until))

    def sleep(self, seconds: float) -> None:
        """time.sleep of the product."""
        self.wait("sleep", lambda: False, seconds)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """The simulator's own look at the database: nobody loses a turn over it."""
        thread, self.current = self.current, None
        try:
            yield
        finally:
            self.current = thread

    def _park(self, place: str, is_ready: Callable[[], bool] = lambda: True) -> None:
        thread = self.current
        if thread is None or getcurrent() is not thread.greenlet:
            return
        if thread.process.is_dead:
            raise Killed
        thread.place, thread.is_ready = place, is_ready
        self._hub.switch()
        thread.is_ready = lambda: True
        if thread.process.is_dead:
            raise Killed

    def reached(self, point: str) -> None:
        """The hook of the crash points."""
        thread = self.current
        if thread is None:
            return
        self.points[point] += 1
        thread.place = point
        if self._dice.random() < (0.5 if point == self.odds.deadly_point else self.odds.kill_at_point):
            self._die(thread, point)
        if not connection.in_atomic_block and self._dice.random() < self.odds.park_at_point:
            self._park(point)

    def _about_to(self, what: str) -> None:
        """Before a statement or a transaction: lose the turn, lose the connection or die, each sometimes."""
        thread = self.current
        if thread is None:
            return
        if thread.process.is_dead:
            raise Killed
        odds = self.odds.park_at_transaction if what == "transaction" else self.odds.park
        if not connection.in_atomic_block and self._dice.random() < odds:
            self._park(what)
        if self.odds.kill_at_statement and self._dice.random() < self.odds.kill_at_statement:
            self._die(thread, what)
        if self.odds.lose_connection and self._dice.random() < self.odds.lose_connection:
            self._fail(OperationalError(self._dice.choice(("the connection was lost", "database is locked"))))
        if self.odds.refuse_statement and self._dice.random() < self.odds.refuse_statement:
            self._fail(DataError("the database refuses this"))

    def _fail(self, error: DatabaseError) -> None:
        assert self.current is not None
        self.failures[str(error)] += 1
        self._note(f"{self.current}: {error}")
        self.note_cut(self.current)
        raise error

    def _statement(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql not in self._known:
            assert not any(word in sql.upper() for word in _REAL_CLOCKS), f"this clock is not simulated: {sql}"
            self._known.add(sql)
        if not sql.startswith(("BEGIN", "SAVEPOINT", "RELEASE", "ROLLBACK")):
            self._about_to("statement")
        if not sql.startswith("SELECT"):
            self.has_moved_money |= "ledger_" in sql
            self.has_sent |= sql.startswith("INSERT") and "generation_attempt" in sql
            self.has_written |= not sql.startswith('UPDATE "generation_output" SET "lease_until"')
        return execute(sql, params, many, context)

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Transactions, statements and crash points report here inside the block."""
        enter, leave, commit = transaction.Atomic.__enter__, transaction.Atomic.__exit__, connection._commit
        committed_by: list[Thread] = []

        def begin(atomic: transaction.Atomic) -> None:
            if not connection.in_atomic_block:
                self._about_to("transaction")
            enter(atomic)

        def commit_and_note() -> None:
            commit()
            if self.current is None:
                return
            committed_by.append(self.current)
            if self.odds.lose_commit and self._dice.random() < self.odds.lose_commit:
                self._fail(OperationalError("the connection was lost after the commit"))

        def end(atomic: transaction.Atomic, *error: Any) -> None:
            try:
                leave(atomic, *error)
            finally:
                if committed_by and not connection.in_atomic_block:
                    committed_by.clear()
                    with self.aside():
                        self._committed()

        with ExitStack() as stack:
            patch = stack.enter_context(pytest.MonkeyPatch.context())
            patch.setattr(transaction.Atomic, "__enter__", begin)
            patch.setattr(transaction.Atomic, "__exit__", end)
            patch.setattr(connection, "_commit", commit_and_note)
            patch.setattr(connection, "close", lambda: None)
            patch.setattr(SimulatedEvent, "machine", self)
            stack.enter_context(connection.execute_wrapper(self._statement))
            stack.callback(crash_points.watch(self.reached))
            yield


class SimulatedEvent:
    """threading.Event for greenlets: who waits loses its turn until it is set."""

    machine: Machine | None = None

    def __init__(self) -> None:
        self._is_set = False

    def set(self) -> None:
        self._is_set = True

    def clear(self) -> None:
        self._is_set = False

    def is_set(self) -> bool:
        return self._is_set

    def wait(self, timeout: float | None = None) -> bool:
        if self.machine is None:
            # A real thread that an earlier test left behind is not part of this: it ends.
            return True
        self.machine.wait("event", lambda: self._is_set, timeout)
        return self._is_set
