"""Fault catalogue A: a process that is told to stop, one that freezes and wakes up late, and two that do the same."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now

from accounts import crash_points
from generation import execution, submission, tasks
from generation.channels.fakes.gemini import Fault, Recorded
from generation.contract import GenerationRequest
from generation.models import Attempt, Charge, Output
from tests.faults.processes import Site, in_background, in_threads, is_dead_by_kill, is_frozen, until
from tests.faults.raw_rows import Facts

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
CALLS = 100
GRACE_SECONDS = 4


def _slow_once(*, slow_seconds: float) -> Callable[[Recorded], Fault | None]:
    """The first call of a prompt marked `slow` takes long, every other one two seconds."""
    met: set[str] = set()

    def fault(request: Recorded) -> Fault:
        prompt = request.body["contents"][-1]["parts"][-1]["text"]
        is_first, is_slow = prompt not in met, "slow" in prompt
        met.add(prompt)
        return Fault(latency_seconds=slow_seconds if is_first and is_slow else 2.0)

    return fault


def _ask_many(site: Site, gemini: Any) -> tuple[list[list[Any]], threading.Thread]:
    """A hundred clients that wait for their pictures, half of them for very long; returns when all calls are out."""
    gemini.fault_for = _slow_once(slow_seconds=60)
    answers: list[list[Any]] = []

    def ask(place: int) -> Any:
        return site.ask_for(f"{'slow' if place % 2 else 'soon'} {place} {time.time_ns()}", wait=60)

    thread = threading.Thread(target=lambda: answers.append(in_threads(CALLS, ask)), daemon=True)
    thread.start()
    return answers, thread


def _stop(process: subprocess.Popen[bytes]) -> float:
    """SIGTERM; how many seconds it took to exit, which must be in order."""
    told_at = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=90) == 0
    return time.monotonic() - told_at


MANY = {
    "NBP_WORKER_THREADS": "128",
    "NBP_ACCOUNT_RUNNING_CAP": "200",
    "NBP_INTAKE_THREADS": "32",
    "NBP_SHUTDOWN_GRACE_SECONDS": str(GRACE_SECONDS),
}


def test_a11_a_service_told_to_stop_answers_its_clients_and_queues_what_it_cannot_finish(
    make_embedded: Any, gemini: Any
) -> None:
    house = make_embedded(**MANY)
    answers, thread = _ask_many(house.site, gemini)
    until(lambda: len(gemini.requests) == CALLS, what="every call is out")
    assert _stop(house.site.process) < 2 * GRACE_SECONDS + 15
    thread.join()
    assert {answer.status_code for answer in answers[0]} <= {200, 202}
    assert [answer.json()["id"][:4] for answer in answers[0]] == ["gen_"] * CALLS
    states = dict(house.site.rows.all("SELECT state, count(*) FROM generation_output GROUP BY state"))
    assert states == {"succeeded": CALLS // 2, "queued": CALLS // 2}
    assert house.site.rows.one("SELECT count(*) FROM generation_attempt WHERE status = 'sent'") == 0
    house.start()
    house.site.all_ended()
    house.site.prove()
    assert house.site.rows.count("generation_charge") == CALLS
    assert len(gemini.requests) == CALLS + CALLS // 2


@pytest.mark.services
def test_a11_a_worker_told_to_stop_queues_what_it_cannot_finish(make_grown_up: Any, gemini: Any) -> None:
    house = make_grown_up(**MANY)
    answers, thread = _ask_many(house.site, gemini)
    until(lambda: len(gemini.requests) == 64, what="every thread has a call")
    worker = house.workers[0]
    assert _stop(worker.process) < 2 * GRACE_SECONDS + 15, worker.log
    assert house.site.rows.one("SELECT count(*) FROM generation_attempt WHERE status = 'sent'") == 0
    house.worker()
    thread.join()
    assert {answer.status_code for answer in answers[0]} <= {200, 202}
    house.site.all_ended()
    house.site.prove()
    assert house.site.rows.count("generation_charge") == CALLS


# Where the process freezes, whether the other one has finished when it wakes up, the attempts, and the upstream's hits.
ZOMBIES = {
    "before the fence": ("run.claimed", True, ("ok",), 1),
    "while its call is out, and wakes up too late": ("call.answering", True, ("ok", "ok"), 2),
    "with an image, and wakes up in time": ("keep.stored", False, ("ok", "ok"), 2),
}


@pytest.mark.parametrize(("point", "is_late", "attempts", "hits"), ZOMBIES.values(), ids=ZOMBIES)
def test_a12_a_process_that_sleeps_past_its_lease_starts_no_call_and_charges_nothing_twice(
    house: Any, gemini: Any, point: str, is_late: bool, attempts: tuple[str, ...], hits: int
) -> None:
    prompt = f"zombie at {point} {time.time_ns()}"
    gemini.script.append(Fault("jpeg"))
    gemini.fault_for = lambda _: None if is_late else Fault(latency_seconds=20)
    zombie = house.start(FAULT_FREEZE_AT=point)
    has_reference = point == "run.claimed"
    with in_background(
        lambda: house.site.accepted(prompt, key=prompt, wait=60, has_reference=has_reference)
    ) as answers:
        until(lambda: is_frozen(zombie), what="it sleeps")
        house.second()
        if is_late:
            house.site.all_ended()
        else:
            until(lambda: len(gemini.requests) == 2, what="the other one calls")
        zombie.send_signal(signal.SIGCONT)
    generation = answers[0]
    house.site.all_ended()
    until(lambda: house.site.rows.of(generation).attempts == attempts, what=f"the attempts are {attempts}")
    assert house.site.rows.of(generation) == Facts("succeeded", "", attempts, 1, 1, 1, "captured", 1)
    time.sleep(1.5)
    assert len(gemini.requests) == hits
    house.site.prove()


def test_a13_two_processes_mend_what_a_third_left_behind_once(house: Any, gemini: Any) -> None:
    gemini.latency_seconds = 300.0
    victim = house.start()
    asked = [house.site.accepted(f"doubled {place} {time.time_ns()}") for place in range(10)]
    until(lambda: len(gemini.requests) == 10, what="every call is out")
    victim.kill()
    assert is_dead_by_kill(victim)
    gemini.latency_seconds = 0.2
    leases = "UPDATE generation_output SET lease_until = ? WHERE state = 'sent'"
    house.site.rows.write(leases, "2999-01-01 00:00:00")
    house.start()
    house.second()
    # Both sweepers run: now there is something to mend, for both at once.
    house.site.rows.write(leases, "2000-01-01 00:00:00")
    house.site.all_ended()
    time.sleep(1.5)
    facts = [house.site.rows.of(each) for each in asked]
    assert facts == [Facts("succeeded", "", ("unknown", "ok"), 1, 1, 1, "captured", 1)] * 10
    assert len(gemini.requests) == 20
    house.site.prove()


class _Death(BaseException):
    """What ends a thread as a crash would: nothing on its way out catches it."""


def _strand(queue: Any) -> None:
    """Every nudged output is out with a worker that died, and its lease has ended."""

    def die(at: str) -> None:
        if at == "run.sent":
            raise _Death

    live_again = crash_points.watch(die)
    for output_id in queue.sent:
        with pytest.raises(_Death):
            execution.run(output_id)
    live_again()
    queue.sent.clear()
    Output.objects.update(lease_until=Now() - timedelta(seconds=1))


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("audited")
def test_a13_two_sweepers_at_the_same_moment_leave_the_rows_of_one(alice: Any, queue: Any) -> None:
    for place in range(12):
        submission.accept(alice.requester(), GenerationRequest(prompt=f"swept {place}"), now=datetime.now(UTC))
    _strand(queue)
    barrier = threading.Barrier(4)

    def sweep(_: int) -> None:
        try:
            barrier.wait()
            tasks.sweep()
        finally:
            connection.close()

    assert in_threads(4, sweep) == [None] * 4
    assert list(Attempt.objects.values_list("status", "error_kind").distinct()) == [("unknown", "unknown")]
    assert set(Output.objects.values_list("state", "lease_number")) == {("queued", 1)}
    assert sorted(queue.sent) == sorted(Output.objects.values_list("pk", flat=True))
    queue.run_to_the_end()
    assert Charge.objects.count() == 12
    assert Attempt.objects.count() == 24
