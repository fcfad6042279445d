"""Runs seeds: the product's real code over its real schema, with simulated time, chance, queue, disk and providers."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from django.db import DataError, OperationalError
from django.test import override_settings

from accounts import pools
from generation import media, tasks
from generation.channels import registry
from generation.egress import loop
from generation.execution import choosing, leases
from tests.simulator import database
from tests.simulator.clock import Clock, simulated_modules
from tests.simulator.machine import Odds, SimulatedEvent
from tests.simulator.people import SLOW_PROMPT
from tests.simulator.processes import per_process_names, singletons
from tests.simulator.report import Report
from tests.simulator.scheduler import Scheduler
from tests.simulator.upstream import SimulatedAdapter
from tests.simulator.world import World, furnish

# What may be logged with a traceback: misfortunes that the simulator itself plays.
_PLAYED = (OperationalError, DataError, OSError, KeyError)
_SETTINGS = {
    "NBP_REDIS_URL": "",
    "NBP_LEASE_SECONDS": 60,
    "NBP_CALL_DEADLINE_SECONDS": 300.0,
    "NBP_RETRY_BASE_SECONDS": 1.0,
    "NBP_ACCOUNT_RUNNING_CAP": 8,
    "NBP_TEST_RUNNING_CAP": 12,
    "NBP_PLAY_MONEY_MICROS": 0,
    "NBP_CATALOGUE_SECONDS": 2.0,
}


class _Faults(logging.Handler):
    """Collects what the product logs with a traceback although nobody played that misfortune."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.problems: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and not isinstance(error, _PLAYED):
            self.problems.append(f"logged: {record.getMessage()}: {error!r}")

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Nothing is printed meanwhile; the trace says more."""
        names = ("accounts", "generation", "nbp_site")
        before = [(logging.getLogger(name), logging.getLogger(name).propagate) for name in names]
        for logger, _ in before:
            logger.addHandler(self)
            logger.propagate = False
        try:
            yield
        finally:
            for logger, propagate in before:
                logger.removeHandler(self)
                logger.propagate = propagate


class Simulation:
    """Seeds, one after another, each from the same rows."""

    def __init__(self, reset: Callable[[], None]) -> None:
        self._reset = reset

    def run(self, seed: int, odds: Odds | None = None) -> Report:
        """Run one seed, with its own odds or with these. Raises SimulationFailed with the seed and its trace."""
        clock, faults = Clock(), _Faults()
        with ExitStack() as stack:
            stack.enter_context(clock.running())
            scheduler = Scheduler(seed, clock, odds)
            # Another die than the scheduler's: a change of the product shifts as little as possible.
            own_dice = random.Random(f"product {seed}")
            machine = scheduler.machine
            stack.enter_context(simulated_modules(clock, own_dice, sleep=machine.sleep, event=SimulatedEvent))
            stack.enter_context(faults.listening())
            stack.enter_context(_surroundings(scheduler.world))
            scheduler.world.problems = faults.problems
            self._reset()
            return scheduler.run()


@contextmanager
def _surroundings(world: World) -> Iterator[None]:
    """Queue, providers and disk of the product are the world's inside the block."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks.run_output, "apply_async", world.publish)
        patch.setattr(loop, "run", world.call)
        patch.setattr(media, "default_storage", world.disk)
        # A connection that is played as lost says nothing about the real ones in the pool.
        patch.setattr(pools, "look_after", lambda: None)
        for kind in ("gemini", "sandbox"):
            patch.setitem(registry.ADAPTERS, kind, SimulatedAdapter(kind))
        # Half of the calls are claimed first and sent later, as if their images had to be fetched in between.
        needs_files = choosing.needs_files
        patch.setattr(choosing, "needs_files", lambda row: needs_files(row) or row.prompt == SLOW_PROMPT)
        yield


def _end_heartbeat() -> None:
    """An earlier test's heartbeat, still waiting for its next beat, would end the one of a simulated process."""
    thread = leases.HEARTBEAT._thread
    leases.stop_heartbeat()
    if isinstance(thread, threading.Thread):
        thread.join(10)


@contextmanager
def _globals_kept() -> Iterator[None]:
    """What processes keep in module globals is afterwards as it was."""
    _end_heartbeat()
    states = [(single, single.__dict__) for single in singletons()]
    with pytest.MonkeyPatch.context() as patch:
        for module, name in per_process_names():
            patch.setattr(module, name, getattr(module, name))
        yield
    for single, state in states:
        single.__dict__ = state


@contextmanager
def simulation(spool: Path, *, without: str = "") -> Iterator[Simulation]:
    """A place to run seeds in, on the test database's schema, or on it but for one trigger of the ledger.

    `spool` is a folder for images on their way.
    """
    with ExitStack() as stack:
        stack.enter_context(override_settings(**_SETTINGS, NBP_SPOOL_DIR=spool))
        stack.enter_context(database.in_memory())
        stack.enter_context(database.without_trigger(without))
        stack.enter_context(_globals_kept())
        clock = Clock()
        with clock.running(), simulated_modules(clock, random.Random(0), sleep=_never, event=SimulatedEvent):
            furnish()
            reset = stack.enter_context(database.snapshot(furnish))
        yield Simulation(reset)


def _never(seconds: float) -> None:
    raise AssertionError(f"nobody sleeps for {seconds} seconds while the house is furnished")
