"""Fault catalogue C: a connection that breaks at a COMMIT, transactions the database undoes, a database that restarts."""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from django.db import OperationalError, connection
from django.db.backends.signals import connection_created

from accounts.ledger.models import Entry, Hold
from generation import submission
from generation.contract import GenerationRequest
from generation.models import Attempt, Charge, Generation, Output
from tests.faults.processes import in_threads, until
from tests.faults.proxy import CommitProxy, Moment
from tests.faults.raw_rows import Facts

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
MOMENTS = ("before", "during", "after")


@pytest.fixture(scope="module")
def proxy(postgresql: Any) -> Iterator[CommitProxy]:
    with CommitProxy(postgresql.port) as running:
        yield running


@pytest.fixture(scope="module")
def proxied_house(module_gemini: Any, postgresql: Any, redis_server: Any, proxy: CommitProxy) -> Iterator[Any]:
    """A service that speaks to its database through the proxy; its rows are read past it."""
    from tests.faults.houses import _house, grown_up_environment
    from tests.faults.processes import GrownUp

    environment = grown_up_environment(module_gemini, postgresql, redis_server, database_port=proxy.port, redis_place=1)
    with _house(GrownUp, environment) as house:
        yield house


@pytest.fixture
def proxied(proxied_house: Any) -> Any:
    """The same, with no connection in its pool that died with a restart of the database: each costs one request."""
    site = proxied_house.site
    until(lambda: all(site.ask("GET", "wallet").status_code == 200 for _ in range(25)), what="its pool is whole")
    return proxied_house


@pytest.mark.services
@pytest.mark.parametrize("moment", MOMENTS)
def test_c1_an_acceptance_whose_commit_is_cut_off_is_one_generation_after_a_repetition(
    proxied: Any, proxy: CommitProxy, gemini: Any, moment: Moment
) -> None:
    site, prompt = proxied.site, f"cut off {moment} {time.time_ns()}"
    proxied.supervise()
    count, cuts = site.rows.count("generation_generation"), proxy.cut_count
    proxy.cut_at_commit(b'INSERT INTO "generation_generation"', moment)
    first = site.ask_for(prompt, key=prompt)
    until(lambda: proxy.cut_count == cuts + 1, what=f"the connection was cut: {first.text} {site.log[-3000:]}")
    # Either the service found out itself what became of it, or it says plainly that it cannot tell.
    assert first.status_code in (202, 503), first.text
    again = site.accepted(prompt, key=prompt)
    assert first.status_code == 503 or first.json()["id"] == again
    assert site.ended(again)["status"] == "succeeded"
    assert site.rows.count("generation_generation") == count + 1
    assert site.rows.of(again) == Facts("succeeded", "", ("ok",), 1, 1, 1, "captured", 1)
    assert len(gemini.requests) == 1
    site.prove()


@pytest.mark.services
@pytest.mark.parametrize("moment", MOMENTS)
def test_c1_an_acceptance_without_a_key_is_never_executed_twice(
    proxied: Any, proxy: CommitProxy, gemini: Any, moment: Moment
) -> None:
    site = proxied.site
    count = site.rows.count("generation_generation")
    proxy.cut_at_commit(b'INSERT INTO "generation_generation"', moment)
    answer = site.ask_for(f"without a key {moment}")
    time.sleep(2.5)
    made = site.rows.count("generation_generation") - count
    assert answer.status_code in (202, 503)
    # A client that is told 202 has one; one that is told 503 may have one, and never two.
    assert made == 1 if answer.status_code == 202 else made <= (moment != "before")
    site.all_ended()
    assert len(gemini.requests) == made
    site.prove()


# The transaction whose COMMIT is cut off, and what upstream hits and attempts may come of it.
WORKER_COMMITS = {
    "the claim": (b'"lease_owner" = ', {("ok",): 1}),
    "the fence": (b'INSERT INTO "generation_attempt"', {("ok",): 1, ("unknown", "ok"): 1}),
    "claim and fence in one": (b'INSERT INTO "generation_attempt"', {("ok",): 1, ("unknown", "ok"): 1}),
    "the settlement": (b'INSERT INTO "generation_charge"', {("ok",): 1}),
}


@pytest.mark.services
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("cut", WORKER_COMMITS)
def test_c1_a_workers_commit_that_is_cut_off_is_one_image_charged_once(
    proxied: Any, proxy: CommitProxy, gemini: Any, cut: str, moment: Moment
) -> None:
    statement, allowed = WORKER_COMMITS[cut]
    if not proxied.workers:
        proxied.start()
    site, cuts = proxied.site, proxy.cut_count
    proxy.cut_at_commit(statement, moment)
    generation = site.accepted(f"{cut} {moment} {time.time_ns()}", has_reference=cut in ("the claim", "the fence"))
    until(lambda: proxy.cut_count == cuts + 1, what="the connection was cut")
    assert site.ended(generation)["status"] == "succeeded"
    facts = site.rows.of(generation)
    assert facts == Facts("succeeded", "", facts.attempts, 1, 1, 1, "captured", 1)
    assert allowed.get(facts.attempts) == len(gemini.requests), facts.attempts
    site.prove()


def _undone(kind: str) -> OperationalError:
    """What Django raises when the database undoes a transaction because of others."""
    if connection.vendor == "sqlite":
        cause: Exception = sqlite3.OperationalError("database is locked")
    else:
        kinds = {"deadlock": psycopg.errors.DeadlockDetected, "serialization": psycopg.errors.SerializationFailure}
        cause = kinds[kind](f"{kind} detected")
    error = OperationalError(str(cause))
    error.__cause__ = cause
    return error


@contextmanager
def _failing_once(statement: str, error: Callable[[], OperationalError]) -> Iterator[Counter[str]]:
    """The first statement that begins like this fails, on whatever connection it comes; counts all of them."""
    met: Counter[str] = Counter()

    def fail(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith(statement):
            met[statement] += 1
            if met[statement] == 1:
                raise error()
        return execute(sql, params, many, context)

    def wrap(connection: Any, **_: Any) -> None:
        connection.execute_wrappers.append(fail)

    connection_created.connect(wrap)
    connection.execute_wrappers.append(fail)
    try:
        yield met
    finally:
        connection_created.disconnect(wrap)
        connection.execute_wrappers.remove(fail)


KINDS = ["deadlock", "serialization"]
ACCEPTING = ['INSERT INTO "generation_generation"', 'INSERT INTO "ledger_entry"']
RUNNING = ['INSERT INTO "generation_attempt"', 'INSERT INTO "generation_charge"', 'INSERT INTO "ledger_entry"']


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("audited")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("statement", ACCEPTING)
def test_c2_an_acceptance_that_the_database_undoes_is_done_again_as_a_whole(
    alice: Any, queue: Any, statement: str, kind: str
) -> None:
    with _failing_once(statement, lambda: _undone(kind)) as met:
        submission.accept(
            alice.requester(), GenerationRequest(prompt="again"), now=datetime.now(UTC), idempotency_key="mine"
        )
    assert met[statement] == 2
    assert (Generation.objects.count(), Output.objects.count(), Hold.objects.count()) == (1, 1, 1)
    assert Entry.objects.filter(kind="hold").count() == 1
    queue.run()
    assert Charge.objects.count() == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("audited")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("statement", RUNNING)
def test_c2_a_run_that_the_database_undoes_is_one_call_and_one_charge(
    alice: Any, queue: Any, statement: str, kind: str
) -> None:
    submission.accept(alice.requester(), GenerationRequest(prompt="again"), now=datetime.now(UTC))
    with _failing_once(statement, lambda: _undone(kind)) as met:
        queue.run()
    assert met[statement] >= 2
    assert list(Attempt.objects.values_list("number", "status", "is_delivered")) == [(1, "ok", True)]
    assert Charge.objects.count() == 1
    assert Entry.objects.filter(kind="capture").count() == 1


@pytest.mark.services
def test_c3_a_database_that_restarts_under_running_prompts_loses_none(
    grown_up: Any, postgresql: Any, gemini: Any
) -> None:
    gemini.latency_seconds = 1.0
    grown_up.start()
    site = grown_up.site
    asked = in_threads(20, lambda place: site.accepted(f"restart {place} {time.time_ns()}"))
    until(lambda: len(gemini.requests) >= 10, what="calls are out")
    postgresql.restart()
    later = until(lambda: _taken(site, f"later {time.time_ns()}"), what="prompts are taken again")
    until(lambda: grown_up.supervise() or not site.unfinished_count(), seconds=180)
    for generation in [*asked, later]:
        facts = site.rows.of(generation)
        assert facts == Facts("succeeded", "", facts.attempts, 1, 1, 1, "captured", 1)
        assert set(facts.attempts[:-1]) <= {"unknown"}
    site.prove()


@pytest.mark.services
def test_c3_the_first_dead_connection_has_the_rest_of_the_pool_looked_after(
    make_grown_up: Any, postgresql: Any
) -> None:
    site = make_grown_up().site
    in_threads(16, lambda _: site.ask("GET", "wallet"))
    postgresql.restart()
    first = site.ask("GET", "wallet").status_code
    time.sleep(2.0)
    later = [site.ask("GET", "wallet").status_code for _ in range(40)]
    assert (first, later) == (503, [200] * 40)


def _taken(site: Any, prompt: str) -> str:
    """The id of a prompt, or nothing while the service cannot take it; a fault it must never say it is."""
    answer = site.ask_for(prompt, key=prompt)
    assert answer.status_code in (202, 503), answer.text
    return str(answer.json()["id"]) if answer.status_code == 202 else ""


@pytest.mark.services
def test_c11_a_pool_that_is_smaller_than_the_crowd_makes_nobody_wait_for_ever(
    module_gemini: Any, gemini: Any, postgresql: Any, redis_server: Any
) -> None:
    """Some look something up, and then all meet to settle: who waits there has given the connection back."""
    from tests.faults.houses import _house, grown_up_environment
    from tests.faults.processes import GrownUp

    environment = grown_up_environment(module_gemini, postgresql, redis_server, redis_place=2)
    environment |= {"NBP_DATABASE_POOL": "3", "NBP_CATALOGUE_SECONDS": "0.05"}
    with _house(GrownUp, environment) as house:
        house.supervise()
        site = house.site
        started_at = time.monotonic()
        in_threads(60, lambda number: site.accepted(f"one of a crowd {number}"))
        site.all_ended(seconds=60)
        assert site.rows.count("generation_charge") == 60
        # Whoever waits for a connection waits twenty seconds before the pool gives up on it.
        assert time.monotonic() - started_at < 60
        site.prove()
