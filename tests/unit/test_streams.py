"""Stored images on their way out: every byte in order, whether or not the system had it in memory."""

from __future__ import annotations

import asyncio
import base64
import os
import random
from collections.abc import Callable
from typing import Any

import pytest

from generation import media
from generation.dialects import door, streams
from generation.media import StoredFile

BODY = random.Random(5).randbytes(2_000_001)


@pytest.fixture
def stored() -> StoredFile:
    media.store("outputs/aa/streamed.png", BODY)
    return StoredFile("outputs/aa/streamed.png", len(BODY))


@pytest.fixture
def threaded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes were asked of the door's threads, one by one."""
    asked: list[int] = []
    in_file_thread: Any = door.in_file_thread

    async def noted(function: Callable[..., Any], *args: Any) -> Any:
        asked.append(args[0])
        return await in_file_thread(function, *args)

    monkeypatch.setattr(door, "in_file_thread", noted)
    return asked


def _base64(stored: StoredFile) -> bytes:
    async def joined() -> bytes:
        return b"".join([piece async for piece in streams.stream([b'{"data":"', stored, b'"}'])])

    return asyncio.run(joined())


def _plain(stored: StoredFile) -> bytes:
    async def joined() -> bytes:
        return b"".join([piece async for piece in streams.plain(stored)])

    return asyncio.run(joined())


def test_what_the_system_has_in_memory_costs_one_thread_to_open_it(stored: StoredFile, threaded: list[int]) -> None:
    if not hasattr(os, "RWF_NOWAIT"):
        pytest.skip("LOUDLY: this system cannot be asked what it has in memory")
    assert _base64(stored) == b'{"data":"' + base64.b64encode(BODY) + b'"}'
    assert len(threaded) == 1
    assert _plain(stored) == BODY


@pytest.mark.parametrize("seed", range(5))
def test_what_it_has_not_is_read_in_threads_and_nothing_is_lost_between(
    stored: StoredFile, threaded: list[int], monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    chance, preadv = random.Random(seed), os.preadv

    def moody(descriptor: int, buffers: list[bytearray], offset: int, flags: int) -> int:
        mood = chance.choice(["has it", "has not", "has half of it", "cannot say"])
        if mood == "has not":
            raise BlockingIOError
        if mood == "cannot say":
            raise OSError(95, "Operation not supported")
        count = preadv(descriptor, buffers, offset, flags)
        return count // 2 if mood == "has half of it" else count

    monkeypatch.setattr(os, "preadv", moody)
    assert _base64(stored) == b'{"data":"' + base64.b64encode(BODY) + b'"}'
    assert _plain(stored) == BODY
    assert len(threaded) > 2


def test_a_file_that_ends_early_is_an_error(stored: StoredFile) -> None:
    with pytest.raises(OSError, match="ends early"):
        _plain(stored._replace(byte_count=len(BODY) + 1))


def test_a_stream_that_was_closed_reads_no_more(stored: StoredFile) -> None:
    source = streams._Source(stored.name)
    assert source.read(3, bytes) == BODY[:3]
    source.close()
    assert source.read_at_once(3, bytes) == source.read(3, bytes) == b""
