"""Processes and threads as the simulator sees them: greenlets, and the module globals that each process has for itself."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from greenlet import greenlet

from accounts.group_commit import GroupCommit
from accounts.remembered import Remembered
from generation.execution import leases
from tests.simulator.clock import product_modules


class Thread:
    """One thread of a process: a greenlet, and what it waits for."""

    def __init__(self, process: Process, name: str, work: Callable[[], Any], output_id: uuid.UUID | None) -> None:
        self.process = process
        self.name = name
        self.output_id = output_id
        self.place = "start"
        self.is_ready: Callable[[], bool] = lambda: True
        self.result: Any = None
        self.error: BaseException | None = None
        self.greenlet = greenlet(lambda: self._run(work))

    def _run(self, work: Callable[[], Any]) -> None:
        try:
            self.result = work()
        except BaseException as error:
            self.error = error

    @property
    def is_over(self) -> bool:
        return self.greenlet.dead

    def __str__(self) -> str:
        return f"{self.process.name}/{self.name}"


class Memory:
    """What a process keeps in module globals. It is swapped with the greenlet, so that processes share nothing."""

    def __init__(self, owner: str, places: Sequence[Place]) -> None:
        own: dict[str, Any] = {"OWNER": owner, "_silent_until": [0.0]}
        self._states = [(single, _fresh(single)) for single in singletons()]
        self._names = [(module, name, own[name]) for module, name in places]

    def install(self) -> None:
        for single, state in self._states:
            single.__dict__ = state
        for module, name, value in self._names:
            setattr(module, name, value)


Place = tuple[ModuleType, str]


def per_process_names() -> list[Place]:
    """The plain values in module globals that each process has one of."""
    return [
        (module, name) for module in product_modules() for name in ("OWNER", "_silent_until") if name in vars(module)
    ]


def singletons() -> list[Any]:
    """The objects in module globals that each process has one of."""
    found = {
        id(value): value
        for module in product_modules()
        for value in list(vars(module).values())
        if isinstance(value, leases.Heartbeat | GroupCommit | Remembered)
    }
    return list(found.values())


class _Beating:
    """The heartbeat's thread, as far as the heartbeat can see: the simulator beats for it."""

    def is_alive(self) -> bool:
        return True


def _fresh(single: Any) -> dict[str, Any]:
    if isinstance(single, GroupCommit):
        return vars(GroupCommit(single._work, max_size=single._max_size))
    if isinstance(single, Remembered):
        return vars(Remembered(single._look, seconds=single._seconds))
    beating = leases.Heartbeat()
    beating._thread = _Beating()  # type: ignore[assignment]
    return vars(beating)


@dataclass(eq=False)
class Process:
    """One process with web, worker and sweeper threads."""

    name: str
    memory: Memory
    threads: list[Thread] = field(default_factory=list)
    is_dead: bool = False
    is_paused: bool = False

    @property
    def is_able(self) -> bool:
        return not self.is_dead and not self.is_paused
