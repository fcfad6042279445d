"""Results of batches on their way out: one by one, however many there are."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

from django.http import HttpResponseBase

from accounts.identifiers import parse_public_id, public_id
from generation import batches, queries
from generation.batches import Item
from generation.dialects import door, refusals, streams

_AT_ONCE = 20
# How a door writes what came of a request; images go into the splice.
Render = Callable[[Item, streams.Splice], Awaitable[dict[str, Any]]]
Wanted = Callable[[Item], bool]


def letters_of(batch_id: uuid.UUID) -> str:
    """What stands for a batch in the names of its files."""
    return public_id("batch", batch_id).partition("_")[2]


def id_of(letters: str) -> uuid.UUID | None:
    """The batch that they stand for."""
    return parse_public_id("batch", f"batch_{letters}")


async def each(batch_id: uuid.UUID) -> AsyncIterator[Item]:
    """The items of a batch in their order, a few at a time."""
    after = -1
    while some := await door.in_thread(batches.items, batch_id, after=after, limit=_AT_ONCE):
        for item in some:
            yield item
        after = some[-1].index


async def whole_reading(item: Item) -> queries.Reading:
    """The generation that a request became, its images all there; else the refusal that says why not."""
    if item.refusal is not None:
        raise item.refusal
    assert item.reading is not None
    if not item.reading.outcome.is_finished:
        raise refusals.still_running(item.reading.generation_id)
    await streams.check(item.reading.files.values())
    return item.reading


async def lines(batch_id: uuid.UUID, render: Render, wanted: Wanted) -> AsyncIterator[bytes]:
    """A file of results: a line of JSON for each item that belongs into it."""
    async for segments in _cut(batch_id, render, wanted):
        async for piece in streams.stream(segments):
            yield piece


async def byte_count(batch_id: uuid.UUID, render: Render, wanted: Wanted) -> int:
    """How long that file is."""
    return sum([streams.length(segments) async for segments in _cut(batch_id, render, wanted)])


async def _cut(batch_id: uuid.UUID, render: Render, wanted: Wanted) -> AsyncIterator[list[Any]]:
    async for item in each(batch_id):
        if wanted(item):
            splice = streams.Splice()
            document = json.dumps(await render(item, splice)).encode() + b"\n"
            yield splice.cut(document)


class _Owner:
    """Who handed in a batch and is told of it, or has left before."""

    def __init__(self, batch_id: uuid.UUID) -> None:
        self._batch_id = batch_id
        self._is_here = True

    def answered(self) -> None:
        self._go(batches.delivered)

    def left(self) -> None:
        self._go(batches.left)

    def _go(self, how: Callable[[uuid.UUID], None]) -> None:
        was_here, self._is_here = self._is_here, False
        if was_here:
            door.behind(partial(how, self._batch_id))


def told(response: HttpResponseBase, batch_id: uuid.UUID) -> HttpResponseBase:
    """The answer to the creation of a batch. Once it has left, the same order is another batch; until then, and when it
    is closed before, the same order is this one, sent again."""
    owner = _Owner(batch_id)
    response.on_delivered = owner.answered  # type: ignore[attr-defined]
    response._resource_closers.append(owner.left)  # type: ignore[attr-defined]
    return response
