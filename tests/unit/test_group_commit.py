"""Work of many threads in one go: everybody gets their own result, and nobody pays for another's fault."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace

import pytest
from django.db import IntegrityError, OperationalError

from accounts import group_commit
from accounts.group_commit import GroupCommit


class Work:
    """Squares numbers in groups and remembers the groups; some numbers make it fail."""

    def __init__(self, *, pause_seconds: float = 0.0) -> None:
        self.groups: list[list[int]] = []
        self.failures: dict[int, BaseException] = {}
        self._pause_seconds = pause_seconds

    def __call__(self, items: Sequence[int]) -> list[int]:
        self.groups.append(list(items))
        time.sleep(self._pause_seconds)
        for item in items:
            if item in self.failures:
                raise self.failures[item]
        return [item * item for item in items]


def _together(do: Callable[[int], int], numbers: Sequence[int]) -> dict[int, int | BaseException]:
    """What each of as many threads got; the first starts a moment before the others."""
    found: dict[int, int | BaseException] = {}

    def one(number: int) -> None:
        try:
            found[number] = do(number)
        except BaseException as error:
            found[number] = error

    threads = [threading.Thread(target=one, args=(number,)) for number in numbers]
    for thread in threads:
        thread.start()
        time.sleep(0.05 if thread is threads[0] else 0)
    for thread in threads:
        thread.join(timeout=30)
    assert not any(thread.is_alive() for thread in threads)
    return found


def test_one_alone_is_done_at_once() -> None:
    work = Work()
    assert GroupCommit(work).do(7) == 49
    assert work.groups == [[7]]


def test_what_comes_meanwhile_is_one_group() -> None:
    work = Work(pause_seconds=0.2)
    found = _together(GroupCommit(work).do, range(9))
    assert found == {number: number * number for number in range(9)}
    assert [len(group) for group in work.groups] == [1, 8]


def test_a_group_has_a_largest_size_and_nobody_is_left_behind() -> None:
    work = Work(pause_seconds=0.1)
    found = _together(GroupCommit(work, max_size=3).do, range(10))
    assert found == {number: number * number for number in range(10)}
    assert max(len(group) for group in work.groups) == 3


def test_one_that_fails_fails_alone() -> None:
    work = Work(pause_seconds=0.2)
    work.failures[5] = IntegrityError("twice")
    found = _together(GroupCommit(work).do, range(9))
    assert isinstance(found.pop(5), IntegrityError)
    assert found == {number: number * number for number in range(9) if number != 5}


def test_a_database_that_is_away_is_not_asked_again_for_each() -> None:
    work = Work(pause_seconds=0.2)
    work.failures[5] = OperationalError("server closed the connection")
    found = _together(GroupCommit(work).do, range(9))
    away = sorted(number for number, each in found.items() if isinstance(each, OperationalError))
    assert away == list(range(1, 9))
    assert len(work.groups) == 2


def test_a_leader_that_is_killed_leaves_nobody_waiting() -> None:
    work = Work(pause_seconds=0.2)
    work.failures[0] = KeyboardInterrupt()
    group = GroupCommit(work)
    found = _together(group.do, range(4))
    assert isinstance(found.pop(0), KeyboardInterrupt)
    assert found == {number: number * number for number in range(1, 4)}
    assert group.do(6) == 36


@pytest.mark.parametrize("size", [1, 4])
def test_many_rounds_of_many_threads(size: int) -> None:
    work = Work()
    group = GroupCommit(work, max_size=size)
    wrong: list[int] = []

    def rounds(start: int) -> None:
        for number in range(start, start + 50):
            if group.do(number) != number * number:
                wrong.append(number)

    threads = [threading.Thread(target=rounds, args=(50 * place,)) for place in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert wrong == []
    assert sorted(number for items in work.groups for number in items) == list(range(600))


class Pool:
    """Two connections for all threads. Stands where Django's connection is, which belongs to a thread."""

    vendor = "postgresql"
    in_atomic_block = False

    def __init__(self) -> None:
        self._places = threading.Semaphore(2)
        self._own = threading.local()

    def use(self) -> None:
        """What any query does: a thread keeps the connection that it once took."""
        if not getattr(self._own, "has_one", False):
            assert self._places.acquire(timeout=5), "the pool ran dry"
            self._own.has_one = True

    def close(self) -> None:
        if getattr(self._own, "has_one", False):
            self._own.has_one = False
            self._places.release()


def test_who_waits_for_the_leader_holds_no_connection_that_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Pool()
    monkeypatch.setattr(group_commit, "connection", pool)

    def work(items: Sequence[int]) -> list[int]:
        pool.use()
        time.sleep(0.2)
        return [item * item for item in items]

    group = GroupCommit(work)

    def one(number: int) -> int:
        try:
            # Some look at something before, such as a price that is no longer remembered; the first two do not, and
            # lead without a connection.
            if number > 1:
                pool.use()
            return group.do(number)
        finally:
            pool.close()

    found = _together(one, range(20))
    assert found == {number: number * number for number in range(20)}


def test_who_lingers_in_vain_tries_again_after_a_longer_while_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    naps: list[float] = []
    clock = [100.0]
    monkeypatch.setattr(group_commit, "time", SimpleNamespace(monotonic=lambda: clock[0], sleep=naps.append))
    group = GroupCommit(Work())
    for _ in range(2000):
        group.do(3)
        clock[0] += 0.02
    # 40 seconds of one client that asks again at once: after 0.3, 0.6, 1.2, 2.4, 4.8, 9.6, 10 seconds and so on.
    assert 5 <= len(naps) <= 9
