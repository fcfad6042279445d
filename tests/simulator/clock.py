"""Simulated time and chance: every clock and every die of the product's modules, moved and thrown by the simulator."""

from __future__ import annotations

import random
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import Any

import pytest
import time_machine
from django.db import connection
from django.db.models.functions import Now

from accounts.compiled import CompiledSelect, CompiledUpdate

START = datetime(2026, 11, 20, 12, tzinfo=UTC)
PACKAGES = ("accounts", "generation", "nbp_site")


class Clock:
    """One clock for processes and database alike. It moves only when the simulator says so."""

    def __init__(self) -> None:
        self.now = START
        self._traveller: time_machine.Traveller | None = None

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        if self._traveller is not None:
            self._traveller.move_to(self.now, tick=False)

    @property
    def seconds(self) -> float:
        """Since the day began."""
        return (self.now - START).total_seconds()

    def monotonic(self) -> float:
        """Seconds; far from zero, as on a machine that has been up for a while."""
        return 100_000.0 + self.seconds

    @contextmanager
    def running(self) -> Iterator[None]:
        """`datetime.now`, `time.time` and the database's `Now()` are this clock inside the block."""
        with time_machine.travel(self.now, tick=False) as self._traveller, pytest.MonkeyPatch.context() as patch:
            patch.setattr(Now, "as_sqlite", _sqlite_now)
            patch.setattr(Now, "as_postgresql", self._postgresql_now)
            for kind in (CompiledSelect, CompiledUpdate):
                patch.setattr(kind, "_statement", _kept_apart(kind._statement))
            if connection.vendor == "sqlite":
                connection.connection.create_function("simulated_time", 0, self._text, deterministic=True)
            yield
        self._traveller = None

    def _text(self) -> str:
        """In the form that SQLite's own STRFTIME gives: milliseconds, always three digits."""
        return f"{self.now:%Y-%m-%d %H:%M:%S}.{self.now.microsecond // 1000:03d}"

    def _postgresql_now(self, *_: object, **__: object) -> tuple[str, list[object]]:
        return f"'{self.now.isoformat()}'::timestamptz", []


def _sqlite_now(*_: object, **__: object) -> tuple[str, list[object]]:
    return "simulated_time()", []


# SQLite's statements that ask for the simulated time, as long as this process runs.
_KEPT: dict[object, dict[Any, Any]] = {}


def _kept_apart(statement: Callable[..., Any]) -> Callable[..., Any]:
    """Compiled statements know the simulated clock, so nobody else may get them. On PostgreSQL the time itself stands
    in them, so none may be kept at all."""

    def statement_apart(self: Any, lists: Any) -> Any:
        real, self._kept = self._kept, _KEPT.setdefault(self, {}) if connection.vendor == "sqlite" else {}
        try:
            return statement(self, lists)
        finally:
            self._kept = real

    return statement_apart


class _Stand:
    """Stands where a module of the standard library is imported, with some of its names replaced."""

    def __init__(self, module: ModuleType, **names: Any) -> None:
        self._module = module
        self.__dict__.update(names)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


def product_modules() -> list[ModuleType]:
    """Every loaded module of the product."""
    return [
        module
        for name, module in sorted(sys.modules.items())
        if module is not None and name.partition(".")[0] in PACKAGES
    ]


def _no_thread(*_: object, **__: object) -> None:
    raise AssertionError("the simulator starts no threads")


@contextmanager
def simulated_modules(
    clock: Clock, dice: random.Random, *, sleep: Callable[[float], None], event: type[object]
) -> Iterator[None]:
    """The product's `time`, `random`, `secrets`, `uuid` and `threading` are simulated inside the block."""

    def uuid4() -> uuid.UUID:
        return uuid.UUID(int=dice.getrandbits(128), version=4)

    replaced: dict[str, dict[str, Any]] = {
        "time": {"monotonic": clock.monotonic, "perf_counter": clock.monotonic, "sleep": sleep},
        "random": {"random": dice.random, "uniform": dice.uniform, "choice": dice.choice, "shuffle": dice.shuffle},
        "secrets": {"randbits": dice.getrandbits, "choice": dice.choice},
        "uuid": {"uuid4": uuid4},
        "threading": {"Event": event, "Thread": _no_thread},
    }
    stands = {name: _Stand(sys.modules[name], **names) for name, names in replaced.items() if name in sys.modules}
    with pytest.MonkeyPatch.context() as patch:
        for module in product_modules():
            for name, stand in stands.items():
                if module.__dict__.get(name) is stand._module:
                    patch.setattr(module, name, stand)
        yield
