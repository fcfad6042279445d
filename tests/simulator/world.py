"""The world of a seed: accounts with little money, channels, processes, a broker, providers and a disk."""

from __future__ import annotations

import errno
import io
import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from django.core.files.base import ContentFile, File
from django.core.files.storage import Storage

from accounts import crash_points, keys
from accounts.authentication import Requester
from accounts.ledger import adjustments, operations
from accounts.models import Account, ApiKey
from generation import submission, tasks
from generation.channels.models import Channel
from generation.contract import Answer, GenerationRequest, Refusal
from generation.execution import leases
from generation.models import Attempt, Generation, Price
from tests.simulator.broker import Broker
from tests.simulator.clock import START, Clock
from tests.simulator.machine import Machine
from tests.simulator.processes import Process, Thread
from tests.simulator.upstream import Handle, Upstream, UpstreamCall

ACCOUNTS = ("rich", "poor", "capped", "busy")
# name, kind, mode, priority: two roads in each mode, so that one can serve while the other cools down.
CHANNELS = (
    ("first", "gemini", "live", 10),
    ("second", "gemini", "live", 20),
    ("first test", "gemini", "test", 10),
    ("sandbox", "sandbox", "test", 20),
)
MODES = ("live", "test")
_ENOUGH_MICROS = 100_000_000


class Disk(Storage):
    """Stored files in a dict. A full disk takes nothing."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.is_full = False

    def _open(self, name: str, mode: str = "rb") -> File[bytes]:
        if name not in self.files:
            raise FileNotFoundError(name)
        return File(io.BytesIO(self.files[name]), name=name)

    def _save(self, name: str, content: ContentFile[bytes]) -> str:
        if self.is_full:
            raise OSError(errno.ENOSPC, "No space left on device")
        assert name not in self.files, f"{name} is stored twice"
        self.files[name] = content.read()
        return name

    def exists(self, name: str) -> bool:
        return name in self.files

    def size(self, name: str) -> int:
        if name not in self.files:
            raise FileNotFoundError(name)
        return len(self.files[name])

    def delete(self, name: str) -> None:
        self.files.pop(name, None)


def furnish() -> None:
    """The cast of every seed, the same rows each time; on an emptied database only what is missing."""
    Price.objects.filter(valid_from__gte=START).delete()
    for name in ACCOUNTS:
        account, _ = Account.objects.get_or_create(name=name)
        operations.open_wallets(account)
        for mode in MODES:
            if not ApiKey.objects.filter(account=account, mode=mode).exists():
                keys.issue(account=account, mode=mode, name=mode)
    for name, kind, mode, priority in CHANNELS:
        channel, _ = Channel.objects.get_or_create(name=name, defaults={"kind": kind, "mode": mode})
        channel.priority = priority
        channel.model_health = {}
        channel.cool_until = channel.last_error_at = channel.last_success_at = None
        channel.disabled_reason, channel.failures_in_a_row, channel.is_enabled = "", 0, True
        channel.set_secret("secret" if kind == "gemini" else "")
        channel.save()


@dataclass(eq=False)
class Wish:
    """What a client wants, and every answer it was given. With a key it asks again until it has an answer."""

    number: int
    requester: Requester
    request: GenerationRequest
    key: str
    asked_count: int = 0
    flying_count: int = 0
    unanswered_count: int = 0
    refusals: list[str] = field(default_factory=list)
    generation_ids: set[uuid.UUID] = field(default_factory=set)


class World:
    """Everything of one seed but the order of events. `note` keeps the trace."""

    def __init__(
        self, clock: Clock, dice: random.Random, note: Callable[[str], None], committed: Callable[[World], None]
    ) -> None:
        self.clock, self.dice, self.note = clock, dice, note
        self.machine = Machine(clock, dice, note, lambda: committed(self))
        self.broker = Broker(dice)
        self.upstream = Upstream()
        self.disk = Disk()
        self.requesters: dict[tuple[str, str], Requester] = {}
        self.granted: dict[tuple[uuid.UUID, str], int] = {}
        self.wishes: list[Wish] = []
        self.problems: list[str] = []
        self.last_attempt = 0
        self.most_together = 0
        self._labels: dict[uuid.UUID, str] = {}

    # --- the cast ----------------------------------------------------------------------------------------------------

    def furnish_wallets(self, *, poor_micros: int, budget_micros: int, cap: int) -> None:
        """Money and limits of this seed."""
        Account.objects.filter(name="busy").update(running_cap=cap, queue_cap=3 * cap)
        ApiKey.objects.filter(account__name="capped").update(budget_micros=budget_micros)
        for account in Account.objects.filter(name__in=ACCOUNTS).order_by("name"):
            for mode in MODES:
                self.grant(account, mode, poor_micros if account.name == "poor" else _ENOUGH_MICROS)
                api_key = ApiKey.objects.get(account=account, mode=mode)
                self.requesters[account.name, mode] = Requester(account=account, mode=mode, api_key=api_key)

    def grant(self, account: Account, mode: str, micros: int) -> None:
        """Money from the operator."""
        adjustments.grant(
            account=account, mode=mode, amount_micros=micros, actor="operator", reason="a start", now=self.clock.now
        )
        self.granted[account.pk, mode] = self.granted.get((account.pk, mode), 0) + micros

    def label(self, output_id: uuid.UUID) -> str:
        """A short name for a trace."""
        return self._labels.setdefault(output_id, f"o{len(self._labels) + 1}")

    # --- what threads do ---------------------------------------------------------------------------------------------

    def ask(self, process: Process, wish: Wish) -> Thread:
        """A client's request, in a web thread."""
        wish.asked_count += 1
        wish.flying_count += 1
        return self.machine.start(process, f"accept w{wish.number}", partial(self._accept, wish))

    def _accept(self, wish: Wish) -> None:
        answer = "no answer"
        try:
            accepted = submission.accept(wish.requester, wish.request, now=self.clock.now, idempotency_key=wish.key)
            with self.machine.aside():
                if not Generation.objects.filter(pk=accepted.generation_id).exists():
                    self.problems.append(f"w{wish.number} was told of a generation that is not committed")
            wish.generation_ids.add(accepted.generation_id)
            answer = "accepted, a replay" if accepted.is_replay else "accepted"
        except Refusal as refusal:
            wish.refusals.append(refusal.code)
            answer = refusal.code
        finally:
            wish.flying_count -= 1
            wish.unanswered_count += answer == "no answer"
            self.note(f"w{wish.number}: {answer}")

    def cancel(self, process: Process, wish: Wish, generation: Generation) -> Thread:
        work = partial(submission.cancel, wish.requester, generation.public_id, now=self.clock.now)
        return self.machine.start(process, f"cancel w{wish.number}", work)

    def deliver(self, process: Process, output_id: uuid.UUID) -> Thread:
        """A message arrives at a worker."""
        # The task's body: what Celery adds around it is not part of the game.
        work = partial(tasks.run_output.run, output_id=str(output_id))
        return self.machine.start(process, f"run {self.label(output_id)}", work, output_id=output_id)

    def sweep(self, process: Process) -> Thread:
        return self.machine.start(process, "sweep", tasks.sweep)

    def beat(self, process: Process) -> Thread:
        return self.machine.start(process, "beat", leases.HEARTBEAT._beat)

    # --- what the product calls --------------------------------------------------------------------------------------

    def publish(self, *, kwargs: dict[str, str], expires: float | None = None, **_: object) -> None:
        """Stands where `apply_async` is."""
        self.broker.publish(kwargs=kwargs, now=self.clock.now, expires=expires)

    def call(self, handle: Handle, *, timeout_seconds: float | None = None) -> Answer:
        """Stands where the upstream loop's `run` is."""
        thread = self.machine.current
        assert thread is not None and thread.output_id is not None
        arrived = self.upstream.arrive(thread.output_id, handle.call, self.clock.now, lambda: not thread.is_over)
        self.note(f"call {arrived.number} for {self.label(arrived.output_id)} by {thread}")
        self._require_attempt(arrived)
        self.machine.wait("upstream", lambda: bool(arrived.answer))
        if timeout_seconds and (self.clock.now - arrived.started_at).total_seconds() > timeout_seconds:
            arrived.answer = "timeout"
        if "call.answering" in crash_points.NAMES:
            crash_points.reached("call.answering")
        return self.upstream.give(arrived)

    def _require_attempt(self, arrived: UpstreamCall) -> None:
        """No byte leaves before its attempt is committed, and no attempt is called twice."""
        with self.machine.aside():
            rows = Attempt.objects.filter(output_id=arrived.output_id, number=arrived.call.attempt_number)
            if not rows.exists():
                self.problems.append(f"call {arrived.number} has no attempt")
        twins = [
            each
            for each in self.upstream.calls
            if (each.output_id, each.call.attempt_number) == (arrived.output_id, arrived.call.attempt_number)
        ]
        if len(twins) != 1:
            self.problems.append(f"attempt {arrived.call.attempt_number} of call {arrived.number} is called twice")
