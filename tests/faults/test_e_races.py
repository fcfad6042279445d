"""E: whatever happens to an account, a key, a price or a budget while an image is under way, its hold ends once."""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connection
from django.db.models import ProtectedError
from django.db.models.functions import Now

from accounts import crash_points, keys
from accounts.authentication import Requester
from accounts.ledger.models import Wallet
from accounts.models import Account, ApiKey, User
from accounts.transactions import write_transaction
from generation import execution, submission, tasks
from generation.channels.models import Channel
from generation.contract import GenerationRequest, ReferenceInput, Refusal
from generation.execution import leases
from generation.models import LIVE_STATES, Generation, ImageModel, Output, Price
from tests import images
from tests.faults.pictures import Picture
from tests.faults.upstreams import OK, PRICE_MICROS, START_MICROS, Upstream

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("audited")]

PictureOf = Callable[[uuid.UUID], Picture]
ON_THE_ROAD = [name for name in crash_points.NAMES if name != "accept.saving"]
ROUNDS = 40


def _in_thread(work: Callable[[], object], faults: list[BaseException]) -> threading.Thread:
    """Work in a thread of its own, which gives its connection back; what it raises is kept."""

    def run() -> None:
        try:
            work()
        except BaseException as fault:
            faults.append(fault)
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


@contextmanager
def _when_it_comes_to(point: str, work: Callable[[], object]) -> Iterator[None]:
    """Do `work`, in another thread, when the road first comes to a place.

    The road waits for its end, but not for long: where it stands in a transaction, the work waits for the road.
    """
    faults: list[BaseException] = []
    threads: list[threading.Thread] = []

    def hook(name: str) -> None:
        if name == point and not threads:
            threads.append(_in_thread(work, faults))
            threads[0].join(0.5)

    stop = crash_points.watch(hook)
    try:
        yield
    finally:
        stop()
        for thread in threads:
            thread.join(30)
    assert faults == []


def _canceled(attempts: list[tuple[str, str]], *, available: int = START_MICROS) -> Picture:
    entries = ["hold", "release"]
    return Picture("canceled", ["canceled"], ["canceled"], attempts, ["released"], entries, [], (available, 0))


@pytest.mark.parametrize("point", ON_THE_ROAD)
def test_e5_a_cancellation_at_any_place_of_the_road_has_one_outcome(
    upstream: Upstream, rows: PictureOf, point: str
) -> None:
    def cancel() -> None:
        submission.cancel(upstream.person.requester("live"), Generation.objects.get().public_id, now=datetime.now(UTC))

    with _when_it_comes_to(point, cancel):
        made = upstream.make(references=(ReferenceInput(data=images.png()),) if point == "run.claimed" else ())
    found = rows(made)
    if point in ("accept.saved", "run.claimed"):
        assert (found, upstream.hits) == (_canceled([]), 0)
    else:
        assert (found, upstream.hits) == (upstream.delivered([OK]), 1)


def test_e5_a_cancellation_that_races_workers_has_one_outcome_for_each_output(
    upstream: Upstream, rows: PictureOf, make_person: Callable[..., Any]
) -> None:
    start = 2 * ROUNDS * PRICE_MICROS
    upstream.person = make_person("racer", live_micros=start)
    requester = upstream.person.requester("live")
    faults: list[BaseException] = []
    sold_count = 0
    for _ in range(ROUNDS):
        made = upstream.ask(n=2)
        ids = list(Output.objects.filter(generation=made).values_list("pk", flat=True))
        public_id, pause_seconds = Generation.objects.get(pk=made).public_id, random.uniform(0, 0.06)

        def cancel(public_id: str = public_id, pause_seconds: float = pause_seconds) -> None:
            time.sleep(pause_seconds)
            submission.cancel(requester, public_id, now=datetime.now(UTC))

        threads = [_in_thread(partial(execution.run, each), faults) for each in (*ids, *ids)]
        threads += [_in_thread(cancel, faults), _in_thread(cancel, faults)]
        for thread in threads:
            thread.join(60)
        upstream.queue.run_to_the_end()
        found = rows(made)
        assert set(zip(found.outputs, found.codes, found.holds, strict=True)) <= {
            ("succeeded", "", "captured"),
            ("canceled", "canceled", "released"),
        }
        count = found.outputs.count("succeeded")
        sold_count += count
        assert found.charges == [PRICE_MICROS] * count
        assert sorted(found.entries) == ["capture"] * count + ["hold"] * 2 + ["release"] * (2 - count)
        assert found.status == ("succeeded" if count else "canceled")
        assert found.wallet == (start - sold_count * PRICE_MICROS, 0)
    assert faults == []
    assert upstream.hits == sold_count


needs_row_locks = pytest.mark.skipif(
    connection.vendor == "sqlite", reason="needs locks of single rows, PostgreSQL: make test-services"
)


@needs_row_locks
def test_e5_a_cancellation_locks_outputs_in_their_order_so_that_two_do_not_deadlock(upstream: Upstream) -> None:
    requester, made = upstream.person.requester("live"), upstream.ask(n=4)
    public_id = Generation.objects.get(pk=made).public_id
    outputs = list(Output.objects.filter(generation=made).order_by("pk").values_list("pk", flat=True))
    for place, pk in enumerate(reversed(outputs)):
        # By their numbers, which have an index, they stand in another order than by their ids.
        Output.objects.filter(pk=pk).update(index=10 + place)
    faults: list[BaseException] = []
    with write_transaction():
        Output.objects.select_for_update().get(pk=outputs[0])
        thread = _in_thread(lambda: submission.cancel(requester, public_id, now=datetime.now(UTC)), faults)
        time.sleep(1.0)
        assert thread.is_alive()
        # It waits for the first and holds none of the others.
        assert len(Output.objects.select_for_update(nowait=True).filter(pk__in=outputs[1:])) == 3
    thread.join(30)
    assert set(Output.objects.filter(generation=made).values_list("state", flat=True)) == {"canceled"}
    assert faults == []


@needs_row_locks
def test_a_heartbeat_does_not_wait_for_a_row_that_is_being_written(upstream: Upstream) -> None:
    outputs = list(Output.objects.filter(generation=upstream.ask(n=2)).order_by("pk"))
    for output in outputs:
        assert leases.claim_alone(output.pk)
    Output.objects.update(lease_until=Now())
    locked, may_end = threading.Event(), threading.Event()

    def write() -> None:
        with write_transaction():
            Output.objects.select_for_update().get(pk=outputs[0].pk)
            locked.set()
            may_end.wait(10)

    faults: list[BaseException] = []
    thread = _in_thread(write, faults)
    assert locked.wait(10)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '1s'")
        leases._extend([each.pk for each in outputs])
    finally:
        may_end.set()
        thread.join(10)
        connection.close()
    extended = Output.objects.filter(lease_until__gt=Now() + timedelta(seconds=1)).values_list("pk", flat=True)
    assert (list(extended), faults) == ([outputs[1].pk], [])


def test_e5_two_answers_for_one_output_that_are_settled_together_are_one_charge(
    upstream: Upstream, rows: PictureOf
) -> None:
    """A worker taken for dead and its successor come back at the same moment, behind another image's settlement."""
    other, made = upstream.ask(), upstream.ask()
    output = Output.objects.get(generation=made)
    stored, may_go_on = threading.Semaphore(0), [threading.Event() for _ in range(3)]
    places = iter(may_go_on)

    def hook(name: str) -> None:
        if name == "keep.stored":
            place = next(places)
            stored.release()
            place.wait(30)

    faults: list[BaseException] = []
    stop = crash_points.watch(hook)
    threads = [_in_thread(partial(execution.run, Output.objects.get(generation=other).pk), faults)]
    try:
        assert stored.acquire(timeout=30)
        for _ in range(2):
            Output.objects.filter(pk=output.pk).update(lease_until=Now() - timedelta(seconds=1), next_run_at=Now())
            tasks.sweep()
            threads.append(_in_thread(partial(execution.run, output.pk), faults))
            assert stored.acquire(timeout=30)
        with write_transaction():
            # The other image waits here for the wallet, and the two answers come together behind it.
            list(Wallet.objects.select_for_update().filter(account=upstream.person.account))
            for event, pause_seconds in zip(may_go_on, (0.2, 0.0, 0.3), strict=True):
                event.set()
                time.sleep(pause_seconds)
    finally:
        stop()
        for event in may_go_on:
            event.set()
        for thread in threads:
            thread.join(30)
    upstream.queue.run_to_the_end()
    assert (faults, upstream.hits) == ([], 3)
    found = rows(made)
    assert (found.outputs, found.holds, found.charges) == (["succeeded"], ["captured"], [PRICE_MICROS])
    assert found.wallet == (START_MICROS - 2 * PRICE_MICROS, 0)
    assert output.attempts.filter(is_delivered=True).count() == 1


# --- what happens to those who asked -----------------------------------------------------------------------------


def _suspend(upstream: Upstream) -> None:
    Account.objects.filter(pk=upstream.person.account.pk).update(status=Account.Status.SUSPENDED)


def _close(upstream: Upstream) -> None:
    Account.objects.filter(pk=upstream.person.account.pk).update(status=Account.Status.CLOSED)


def _freeze(upstream: Upstream) -> None:
    Wallet.objects.filter(account=upstream.person.account).update(status=Wallet.Status.FROZEN)


def _revoke(upstream: Upstream) -> None:
    keys.revoke(upstream.person.keys["live"].api_key, now=datetime.now(UTC))


def _disable(upstream: Upstream) -> None:
    keys.disable(upstream.person.keys["live"].api_key, now=datetime.now(UTC))


def _expire(upstream: Upstream) -> None:
    ApiKey.objects.filter(pk=upstream.person.keys["live"].api_key.pk).update(expires_at=datetime.now(UTC))


def _rotate(upstream: Upstream) -> None:
    keys.rotate(upstream.person.keys["live"].api_key, now=datetime.now(UTC), overlap=timedelta(0))


def _delete_user(upstream: Upstream) -> None:
    User.objects.get(pk=upstream.person.user.pk).delete()


def _withdraw_model(_upstream: Upstream) -> None:
    ImageModel.objects.filter(name="gemini-3-pro-image").update(is_enabled=False, shutdown_on="2026-01-01", sizes=[])


EVENTS = [_suspend, _close, _freeze, _revoke, _disable, _expire, _rotate, _delete_user, _withdraw_model]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.__name__.strip("_"))
def test_e6_what_was_accepted_is_finished_and_charged_whatever_happens_to_those_who_asked(
    upstream: Upstream, rows: PictureOf, event: Callable[[Upstream], None]
) -> None:
    """While it is queued, and while the upstream is at it: three of three images, and every hold captured."""
    made = [upstream.ask(), upstream.ask(n=2)]
    with _when_it_comes_to("run.sent", lambda: event(upstream)):
        upstream.queue.run_to_the_end()
    wallet = (START_MICROS - 3 * PRICE_MICROS, 0)
    assert [(rows(each).outputs, rows(each).holds, rows(each).wallet) for each in made] == [
        (["succeeded"], ["captured"], wallet),
        (["succeeded"] * 2, ["captured"] * 2, wallet),
    ]
    assert upstream.hits == 3


def test_e6_what_a_user_asked_for_on_the_site_outlives_the_user(upstream: Upstream, rows: PictureOf) -> None:
    person = upstream.person
    asked = submission.accept(
        Requester(account=person.account, mode="live", user=person.user),
        GenerationRequest(prompt="a lighthouse", image_size="1K"),
        now=datetime.now(UTC),
    )
    _delete_user(upstream)
    upstream.queue.run_to_the_end()
    assert rows(asked.generation_id) == upstream.delivered([OK])
    assert Generation.objects.get().user is None


def test_e6_nothing_that_money_hangs_on_can_be_deleted(upstream: Upstream) -> None:
    upstream.ask()
    for row in (upstream.person.account, upstream.person.keys["live"].api_key, Price.objects.get(generations__n=1)):
        with pytest.raises(ProtectedError):
            row.delete()
    upstream.queue.run_to_the_end()


def test_e6_without_any_channel_left_what_was_queued_is_free(upstream: Upstream, rows: PictureOf) -> None:
    made = upstream.ask(n=2)
    Channel.objects.filter(mode="live").update(is_enabled=False)
    upstream.queue.run_to_the_end()
    found = rows(made)
    assert (found.outputs, found.codes) == (["failed"] * 2, ["upstream_unavailable"] * 2)
    assert (found.holds, found.charges, found.wallet) == (["released"] * 2, [], (START_MICROS, 0))
    assert (found.attempts, upstream.hits) == ([], 0)


def test_e6_a_suspended_account_starts_nothing_new(upstream: Upstream) -> None:
    _suspend(upstream)
    upstream.person.account.refresh_from_db()
    upstream.person.keys["live"].api_key.account.refresh_from_db()
    with pytest.raises(Refusal) as caught:
        upstream.ask()
    assert (caught.value.code, Output.objects.filter(state__in=LIVE_STATES).count()) == ("account_suspended", 0)
