"""Reads waited for at the same time are done together: each gets its own answer, and nobody waits for nothing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence

import pytest

from generation.dialects.batched_reads import BatchedReader


class Shelf:
    """Answers each key with itself doubled; knows what was asked together. Closed, it lets the first read wait."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.is_open = threading.Event()
        self.is_open.set()

    def read_many(self, keys: Sequence[int]) -> Mapping[int, int]:
        self.batches.append(list(keys))
        self.is_open.wait(10)
        if -13 in keys:
            raise ArithmeticError("-13")
        return {key: key * 2 for key in keys if key != -404}


def test_alone_a_read_happens_at_once() -> None:
    shelf = Shelf()
    assert asyncio.run(BatchedReader(shelf.read_many).read(4)) == 8
    assert shelf.batches == [[4]]


def test_what_comes_while_a_read_runs_is_read_together() -> None:
    shelf = Shelf()
    reader = BatchedReader(shelf.read_many, max_batch=64)

    async def all_of() -> list[int]:
        shelf.is_open.clear()
        first = asyncio.create_task(reader.read(0))
        while not shelf.batches:
            await asyncio.sleep(0.01)
        rest = [asyncio.create_task(reader.read(key)) for key in range(1, 1001)]
        await asyncio.sleep(0)
        shelf.is_open.set()
        return await asyncio.gather(first, *rest)

    assert asyncio.run(all_of()) == [key * 2 for key in range(1001)]
    assert len(shelf.batches) == 1 + -(-1000 // 64)
    assert max(map(len, shelf.batches)) == 64


def test_who_asks_for_the_same_is_read_once() -> None:
    shelf = Shelf()
    reader = BatchedReader(shelf.read_many)

    async def twice() -> list[int]:
        shelf.is_open.clear()
        tasks = [asyncio.create_task(reader.read(key)) for key in (1, 2, 2, 2)]
        await asyncio.sleep(0.05)
        shelf.is_open.set()
        return await asyncio.gather(*tasks)

    assert asyncio.run(twice()) == [2, 4, 4, 4]
    assert shelf.batches[0][0] == 1
    assert [key for batch in shelf.batches for key in batch].count(2) == 1


def test_what_does_not_exist_and_what_fails_is_said_to_who_asked() -> None:
    reader = BatchedReader(Shelf().read_many)
    with pytest.raises(LookupError):
        asyncio.run(reader.read(-404))
    with pytest.raises(ArithmeticError):
        asyncio.run(reader.read(-13))
    assert asyncio.run(reader.read(5)) == 10


def test_who_leaves_takes_nothing_from_the_others() -> None:
    shelf = Shelf()
    reader = BatchedReader(shelf.read_many)

    async def one_leaves() -> int:
        shelf.is_open.clear()
        first = asyncio.create_task(reader.read(0))
        await asyncio.sleep(0)
        leaving, staying = asyncio.create_task(reader.read(1)), asyncio.create_task(reader.read(2))
        await asyncio.sleep(0)
        leaving.cancel()
        shelf.is_open.set()
        await first
        return await asyncio.wait_for(staying, 10)

    assert asyncio.run(one_leaves()) == 4
    assert asyncio.run(reader.read(6)) == 12
