"""From a request at a door to the end of its generation: taken in, waited for, and its client's presence kept."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

from django.http import HttpRequest, HttpResponseBase

from accounts.authentication import Requester
from accounts.identifiers import public_id
from generation import presence, queries, submission
from generation.contract import GenerationRequest, Refusal
from generation.dialects import admission, door, refusals
from generation.dialects.batched_reads import READINGS
from generation.presence import PRESENCE
from generation.waiting import WATCHER

O = TypeVar("O")  # noqa: E741
# Below the 300 seconds after which Node's fetch gives up by itself, and its caller sends again.
DEADLINE_SECONDS = 280.0
PING_SECONDS = 15.0
Accepted = submission.Accepted
Joining = submission.Joining


class Client:
    """A client who waits for a generation. Used in a `with` block, whose errors are said to the client."""

    def __init__(self, generation_id: uuid.UUID, *, is_over: bool) -> None:
        self.generation_id = generation_id
        self._is_over = is_over
        self._is_here = True
        self._ends_at = time.monotonic() + DEADLINE_SECONDS
        PRESENCE.hold(generation_id)

    def answered(self) -> None:
        """The answer has left, to its last byte."""
        self._go(PRESENCE.answered)

    def left(self) -> None:
        """There was no answer, or nobody to take it; nothing once it was answered."""
        self._go(PRESENCE.leave)

    def _go(self, how: Callable[[uuid.UUID], None]) -> None:
        was_here, self._is_here = self._is_here, False
        if was_here:
            door.behind(partial(how, self.generation_id))

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            self._stopped_by(error)

    def said(self, error: Exception) -> Refusal:
        """The refusal to say in the midst of an answer that has begun."""
        self._stopped_by(error)
        return refusals.said(error)

    def _stopped_by(self, error: BaseException) -> None:
        """That a generation has failed is an answer. Anything else leaves the client without one, so that the same
        request may come again and find its generation."""
        if isinstance(error, refusals.OfGeneration) and error.has_ended:
            self.answered()
        else:
            self.left()

    async def end(self) -> queries.Reading:
        """The generation at its end. Raises the refusal that it is still running when the time is up."""
        if not self._is_over:
            await WATCHER.wait(self.generation_id, seconds=max(0.0, self._ends_at - time.monotonic()))
        reading = await READINGS.read(self.generation_id)
        if not reading.outcome.is_finished:
            # Written before it is said: the same request may come at once, and finds only what has no client.
            self._is_here = False
            await door.in_thread(PRESENCE.leave, self.generation_id)
            raise refusals.still_running(self.generation_id)
        return reading

    async def pings(self) -> AsyncIterator[None]:
        """Something every few seconds until the generation has ended, or the time is up."""
        while not (self._is_over or WATCHER.is_closing) and (left := self._ends_at - time.monotonic()) > 0:
            await WATCHER.wait(self.generation_id, seconds=min(PING_SECONDS, left))
            reading = await READINGS.read(self.generation_id)
            self._is_over = reading.outcome.is_finished
            if not self._is_over:
                yield None

    def sent(self, response: HttpResponseBase) -> HttpResponseBase:
        """The response that answers this client: when it has left, the client is answered, else it has left.

        The generation's id goes into its head and into its line of the log.
        """
        response.on_delivered = self.answered  # type: ignore[attr-defined]
        response._resource_closers.append(self.left)  # type: ignore[attr-defined]
        response["X-Generation-Id"] = public_id("gen", self.generation_id)
        response.generation_id = self.generation_id  # type: ignore[attr-defined]
        return response


def accept(
    request: HttpRequest, requester: Requester, asked: GenerationRequest, *, joining: Joining = Joining.IF_LOST
) -> Accepted:
    """Through the front door, for a client who waits for the answer. Most cannot say that they send again: what was
    lost is known as such."""
    return submission.accept(
        requester,
        asked,
        now=datetime.now(UTC),
        idempotency_key=admission.idempotency_key(request),
        joining=joining,
    )


def with_image(reading: queries.Reading) -> queries.Reading:
    """The reading, if it has an image; else the refusal that says why not. A success without an image is sent for again
    by some clients, and by others taken for one."""
    if not reading.outcome.images:
        raise refusals.of_outcome(reading.outcome)
    return reading


async def taken_in(request: HttpRequest, take_in: Callable[[], tuple[Accepted, O]]) -> tuple[Client, O]:
    """Have a request taken in by a thread; what `take_in` answers beside the accepted generation comes back with it.

    If the client leaves meanwhile, the thread goes on, and what it accepts has no client.
    """
    WATCHER.attend()
    leaving = presence.watched()
    work = asyncio.ensure_future(door.in_intake_thread(_and_whether_over, take_in))
    try:
        accepted, is_over, options = await asyncio.shield(work)
    except asyncio.CancelledError:
        leaving.set()
        work.add_done_callback(_nobody_there)
        raise
    door.let_go(request)
    return Client(accepted.generation_id, is_over=is_over), options


def _and_whether_over(take_in: Callable[[], tuple[Accepted, O]]) -> tuple[Accepted, bool, O]:
    accepted, options = take_in()
    is_over = accepted.is_replay and bool(queries.finished([accepted.generation_id]))
    return accepted, is_over, options


def _nobody_there(work: asyncio.Future[tuple[Accepted, bool, Any]]) -> None:
    if not work.cancelled() and work.exception() is None:
        accepted, is_over, _ = work.result()
        Client(accepted.generation_id, is_over=is_over).left()
