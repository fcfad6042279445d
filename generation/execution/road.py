"""The road of one output through this process: claim, choose, fence, call, settle.

The database connection is given back before the call: nobody waits for a stranger with a connection in hand.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from django.db import InterfaceError, OperationalError, connection

from accounts import crash_points, pools, request_context
from accounts.group_commit import GroupCommit
from accounts.sealed import SealBroken
from accounts.transactions import forbid_transaction, repeatable, write_transaction
from generation import measurements, settlement
from generation.channels import registry
from generation.channels.models import Channel
from generation.contract import Answer, Call, ChannelError
from generation.egress import loop
from generation.execution import choosing, hedging, results
from generation.execution.calls import Road, attempt_for, call_for
from generation.execution.choosing import Sending, Taken
from generation.execution.dispatch import due
from generation.execution.leases import HEARTBEAT, Lease, claim_alone, requeue, send
from generation.models import Attempt, Output

logger = logging.getLogger(__name__)
_LOOP_MARGIN_SECONDS = 10.0
UNAVAILABLE = (
    "upstream_unavailable",
    "No channel could make this image, after all the tries it is worth. Nothing was charged.",
)


def run(output_id: uuid.UUID) -> list[uuid.UUID]:
    """Run an output if it is due and nobody else has it. Answers the account's outputs to nudge next."""
    taken = _take(output_id)
    if taken is None:
        return []
    if taken.joining is not None:
        return due(taken.output.account_id)
    lease = taken.lease
    HEARTBEAT.hold(lease)
    try:
        if taken.sending is None:
            crash_points.reached("run.claimed")
        return _run(taken)
    except (OperationalError, InterfaceError):
        # The sweeper finds the output when its lease has ended, and the database may be back by then.
        pools.look_after()
        raise
    except Exception:
        logger.exception("output %s cannot be run", output_id)
        # Once something was sent, the attempt is unknown and the sweeper's; before that, the output ends here for free.
        results.give_up(output_id, lease_number=lease.number, now=_now())
        return []
    finally:
        HEARTBEAT.drop(lease)


def _now() -> datetime:
    return datetime.now(UTC)


def _take(output_id: uuid.UUID) -> Taken | None:
    try:
        return _TAKEN.do(output_id)
    except (OperationalError, InterfaceError):
        raise
    except Exception:
        logger.exception("output %s cannot be taken", output_id)
        # It is still queued, and the same fault would come with every nudge.
        lease = claim_alone(output_id)
        if lease is not None:
            results.give_up(output_id, lease_number=lease.number, now=_now())
        return None


def _take_each(output_ids: Sequence[uuid.UUID]) -> list[Taken | None]:
    return choosing.take_each(output_ids, now=_now())


_TAKEN = GroupCommit(_take_each)


def _run(taken: Taken) -> list[uuid.UUID]:
    output, road = taken.output, taken.road
    request_context.note(generation=output.generation.public_id, attempt=str(road.attempt_number))
    if taken.sending is not None:
        _attempt(taken.lease, taken.sending)
    elif road.channel is None:
        _wait_or_fail(taken.lease, road.wait_until)
    else:
        _put_together(taken.lease, output, road)
    return due(output.account_id)


def _put_together(lease: Lease, output: Output, road: Road) -> None:
    """Fetch what the call needs, which takes as long as it takes, and pass the fence if the lease still holds."""
    with call_for(output, road) as call:
        attempt = attempt_for(output, road, call, lease_number=lease.number, now=_now())
        if send(lease, attempt):
            _attempt(lease, Sending(call, attempt))


@repeatable
def _wait_or_fail(lease: Lease, wait_until: datetime | None) -> None:
    """No channel can be called now: the output waits for one, or ends for free when none is left."""
    now = _now()
    with write_transaction():
        if wait_until is not None:
            requeue(lease, seconds=max(0.05, (wait_until - now).total_seconds()), now=now)
        else:
            settlement.fail(
                lease.output_id, code=UNAVAILABLE[0], message=UNAVAILABLE[1], now=now, lease_number=lease.number
            )


def _attempt(lease: Lease, sending: Sending) -> None:
    """One call, and a second one beside it where the request pays for that and the first is slow."""
    crash_points.reached("run.sent")
    seconds = hedging.hedge_after(sending.attempt.output)
    if seconds is None:
        _make(lease, sending, hedging.Pair())
        return
    pair, watcher = hedging.beside(lease, sending, seconds, _make)
    _make(lease, sending, pair)
    # The lease is kept alive as long as one of them is out.
    watcher.join()


def _make(lease: Lease, sending: Sending, pair: hedging.Pair) -> None:
    call, attempt = sending.call, sending.attempt
    answer: Answer | None = None
    try:
        answer = _call(attempt.channel, replace(call, keep_handle=_keeper(attempt)))
        pair.end(with_image=True)
        results.answered(lease, attempt, answer, now=_now())
    except ChannelError as error:
        results.errored(lease, attempt, error, now=_now(), is_last=pair.end(with_image=False))
    finally:
        if answer is not None and answer.image is not None:
            answer.image.path.unlink(missing_ok=True)


def _keeper(attempt: Attempt) -> Callable[[str], Awaitable[None]]:
    """Writes to the attempt what names its work upstream, so that whoever comes after a crash can follow it."""

    async def keep(handle: str) -> None:
        await loop.in_thread(_keep_handle, attempt.pk, handle)

    return keep


def _keep_handle(attempt_id: int, handle: str) -> None:
    crash_points.reached("handle.given")
    try:
        Attempt.objects.filter(pk=attempt_id).update(handle=handle)
    finally:
        connection.close()
    crash_points.reached("handle.kept")


def _call(channel: Channel, call: Call) -> Answer:
    """Make the call on the process's event loop while this thread waits, without a database connection."""
    try:
        credentials = registry.credentials_of(channel)
    except SealBroken as error:
        raise ChannelError("unauthorized", f"the channel's secret cannot be opened: {error}") from error
    forbid_transaction()
    connection.close()
    adapter = registry.ADAPTERS[channel.kind]
    try:
        with measurements.calling(channel=channel.name, model=call.upstream_model, mode=channel.mode):
            return loop.run(
                adapter.generate(call, credentials), timeout_seconds=call.deadline_seconds + _LOOP_MARGIN_SECONDS
            )
    except loop.CallCanceled as error:
        raise ChannelError("interrupted", "the call was broken off here, because the process stops") from error
    except TimeoutError as error:
        raise ChannelError("unknown", "the call did not end by its deadline") from error
    except ChannelError:
        raise
    except Exception as error:
        # An adapter's fault of its own: whether the upstream worked is not known.
        logger.exception("adapter %s failed", channel.kind)
        raise ChannelError("unknown", f"the adapter failed: {type(error).__name__}") from error
