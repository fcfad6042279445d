"""The requests of a job, each made on the process's event loop while this thread waits without a connection."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, TypeVar

from django.db import connection
from django.db.models import QuerySet

from accounts.sealed import SealBroken
from accounts.transactions import forbid_transaction
from generation import media
from generation.channels import registry
from generation.channels.adapter import BatchAdapter, Credentials, JobItem, JobStatus
from generation.contract import Answer, Call, ChannelError
from generation.egress import loop
from generation.execution.calls import Road, call_for
from generation.models import Attempt, Job

logger = logging.getLogger(__name__)
T = TypeVar("T")
_CREATE_SECONDS = 600.0
_ASK_SECONDS = 60.0
# A result is a picture, or a line that says why there is none; the next one comes within this time.
_RESULT_SECONDS = 600.0


def items_of(job: Job) -> QuerySet[Attempt]:
    """The attempts of a job that are still out, with all that a call is made of."""
    rows = Attempt.objects.filter(job=job, status=Attempt.Status.SENT).select_related(
        "channel", "image_model", "output__generation__image_model", "output__generation__price__image_model"
    )
    return rows.order_by("pk")


def key_of(attempt: Attempt) -> str:
    """What finds the result of an item again."""
    return str(attempt.output_id)


def create(job: Job) -> str:
    """Create the job; its name upstream."""
    with ExitStack() as files:
        items = [JobItem(key_of(each), _call(each, files)) for each in items_of(job)]
        model = registry.upstream_model_of(job.channel, job.image_model)
        return _ask(job, lambda road, who: road.create(job.public_id, model, items, who), seconds=_CREATE_SECONDS)


def _call(attempt: Attempt, files: ExitStack) -> Call:
    road = Road(attempt.channel, None, attempt.number, image_model=attempt.image_model)
    return files.enter_context(call_for(attempt.output, road))


def find(job: Job) -> Sequence[str]:
    """The names of jobs like it upstream, the oldest first."""
    return _ask(job, lambda road, who: road.find(job.public_id, who))


def look(job: Job) -> JobStatus:
    """How it is doing."""
    return _ask(job, lambda road, who: road.look(job.upstream_name, who))


def cancel(job: Job, name: str) -> None:
    """Ask for it to be given up. That it cannot be asked is no reason to stop."""
    try:
        _ask(job, lambda road, who: road.cancel(name, who))
    except ChannelError as error:
        logger.warning("job %s could not be given up: %s", job.public_id, error.message)


def results(job: Job) -> Iterator[tuple[str, Answer | ChannelError]]:
    """What became of its items, each as it comes. Raises ChannelError where they stop coming."""
    road, who = _road(job)
    stream = road.results(job.upstream_name, who, media.spool_directory())
    try:
        while (found := _run(_next(stream), _RESULT_SECONDS)) is not None:
            yield found
    finally:
        _run(_closed(stream), _ASK_SECONDS)


async def _next(
    stream: AsyncIterator[tuple[str, Answer | ChannelError]],
) -> tuple[str, Answer | ChannelError] | None:
    return await anext(stream, None)


async def _closed(stream: Any) -> None:
    close = getattr(stream, "aclose", None)
    if close is not None:
        await close()


def _ask(
    job: Job, ask: Callable[[BatchAdapter, Credentials], Coroutine[Any, Any, T]], *, seconds: float = _ASK_SECONDS
) -> T:
    road, who = _road(job)
    return _run(ask(road, who), seconds)


def _road(job: Job) -> tuple[BatchAdapter, Credentials]:
    try:
        return registry.BATCH_ADAPTERS[job.channel.kind], registry.credentials_of(job.channel)
    except SealBroken as error:
        raise ChannelError("unauthorized", f"the channel's secret cannot be opened: {error}") from error


def _run(work: Coroutine[Any, Any, T], seconds: float) -> T:
    forbid_transaction()
    connection.close()
    try:
        return loop.run(work, timeout_seconds=seconds)
    except ChannelError:
        raise
    except loop.CallCanceled as error:
        raise ChannelError("interrupted", "the call was broken off here, because the process stops") from error
    except TimeoutError as error:
        raise ChannelError("unknown", "the call did not end by its deadline") from error
    except Exception as error:
        logger.exception("a call of a job failed")
        raise ChannelError("unknown", f"the adapter failed: {type(error).__name__}") from error
