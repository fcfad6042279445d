"""What a call's end does to its channel: cool down for a model, switch off, or forget old failures.

A provider that is busy with one model may well serve another, so that a channel cools down model by model. After
several failures in a row it is tried with one call alone before others follow.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import Q

from accounts.group_commit import GroupCommit
from accounts.transactions import write_transaction
from generation.channels import registry
from generation.channels.models import Channel
from generation.channels.seed import HOUSE, SANDBOX
from generation.contract import ChannelError

logger = logging.getLogger(__name__)
COOL_AFTER_FAILURES = 5
_COOL_SECONDS = 10.0
_PROBE_SECONDS = 60.0
_MAX_RETRY_AFTER_SECONDS = 300.0
# One row serves every call of a road: noting each success would make them wait for one another.
_SUCCESS_GRAIN = timedelta(seconds=10)
# Channel, image model, when the call left and when it ended.
Success = tuple[str, str, datetime, datetime]


def cool_until(channel: Channel, image_model: str) -> datetime | None:
    """Until when a channel is left alone with a model; None where it is not."""
    found = channel.model_health.get(image_model, {}).get("cool_until")
    return datetime.fromisoformat(found) if found else None


def is_half_open(channel: Channel, image_model: str) -> bool:
    """Whether it failed so often that one call alone is to go first."""
    return int(channel.model_health.get(image_model, {}).get("failures", 0)) >= COOL_AFTER_FAILURES


def take_probe(channel: Channel, image_model: str, *, now: datetime) -> bool:
    """Be the one call that goes first, inside the caller's transaction. False: somebody else is."""
    row = _locked(str(channel.pk))
    until = cool_until(row, image_model)
    if until is not None and until > now:
        channel.model_health = row.model_health
        return False
    seconds = _PROBE_SECONDS * min(1.0, settings.NBP_RETRY_BASE_SECONDS)
    _set(row, image_model, cool_until=(now + timedelta(seconds=seconds)).isoformat())
    row.save(update_fields=["model_health"])
    channel.model_health = row.model_health
    return True


def note_success(channel: Channel, image_model: str, *, started_at: datetime, now: datetime) -> None:
    """A complete answer, a refusal included: the road works. `channel` is its row as it was before the call."""
    is_noted = channel.last_success_at is not None and channel.last_success_at > now - _SUCCESS_GRAIN
    if not is_noted or channel.failures_in_a_row or channel.model_health or str(channel.pk) in _failing:
        _failing.discard(str(channel.pk))
        _SUCCESSES.do((str(channel.pk), image_model, started_at, now))


def note_successes(noted: Sequence[Success]) -> list[None]:
    """The same for several calls at once: a channel's row is written once for all of them."""
    for channel_id in sorted({each[0] for each in noted}):
        _note_success(channel_id, [each for each in noted if each[0] == channel_id])
    return [None] * len(noted)


_SUCCESSES = GroupCommit(note_successes)
# Channels that failed in this process since they last worked in it.
_failing: set[str] = set()


def _note_success(channel_id: str, calls: Sequence[Success]) -> None:
    now = max(each[3] for each in calls)
    stale = Q(last_success_at=None) | Q(last_success_at__lt=now - _SUCCESS_GRAIN) | Q(failures_in_a_row__gt=0)
    if not Channel.objects.filter(stale | ~Q(model_health={}), pk=channel_id).exists():
        return
    with write_transaction():
        row = _locked(channel_id)
        for _, image_model, started_at, _ in calls:
            _forgive(row, image_model, started_at)
        row.failures_in_a_row, row.last_success_at = 0, now
        _save(row, "failures_in_a_row", "last_success_at")


def _forgive(row: Channel, image_model: str, started_at: datetime) -> None:
    """An answer ends a row of failures; a wish to be left alone only ends by a call that left after it was uttered."""
    found = row.model_health.get(image_model)
    if not found:
        return
    failed_at = found.get("failed_at")
    if failed_at and datetime.fromisoformat(failed_at) >= started_at:
        _set(row, image_model, failures=0)
    else:
        del row.model_health[image_model]


def note_error(channel_id: str, image_model: str, error: ChannelError, *, now: datetime) -> None:
    """An error or no answer. A request the upstream calls wrong says nothing about the road."""
    if error.kind in ("rejected", "interrupted"):
        return
    with write_transaction():
        row = _locked(channel_id)
        # The sandbox fails when a prompt asks it to: one customer's test must not close the road to the others.
        if row.kind in (SANDBOX, *HOUSE):
            return
        row.last_error, row.last_error_at = f"{error.kind}: {error.message}"[:500], now
        if error.kind == "unauthorized":
            row.disabled_reason = row.last_error
            row.save(update_fields=["disabled_reason", "last_error", "last_error_at"])
            registry.forget()
        else:
            _failing.add(channel_id)
            row.failures_in_a_row += 1
            _cool_down(row, image_model, error, now)
            _save(row, "failures_in_a_row", "last_error", "last_error_at")
    if error.kind == "unauthorized":
        logger.error("channel %s is switched off: %s", channel_id, row.last_error)


def _cool_down(row: Channel, image_model: str, error: ChannelError, now: datetime) -> None:
    failures = int(row.model_health.get(image_model, {}).get("failures", 0)) + 1
    _set(row, image_model, failures=failures, failed_at=now.isoformat())
    if error.retry_after_seconds:
        seconds = min(error.retry_after_seconds, _MAX_RETRY_AFTER_SECONDS)
    elif failures >= COOL_AFTER_FAILURES:
        seconds = _COOL_SECONDS * settings.NBP_RETRY_BASE_SECONDS
    else:
        return
    _set(row, image_model, cool_until=(now + timedelta(seconds=seconds)).isoformat())


def _locked(channel_id: str) -> Channel:
    return Channel.objects.select_for_update(no_key=True).get(pk=channel_id)


def _set(row: Channel, image_model: str, **values: Any) -> None:
    row.model_health = {**row.model_health, image_model: {**row.model_health.get(image_model, {}), **values}}


def _save(row: Channel, *names: str) -> None:
    """With the last of its cool-downs, for those who look at the channel as a whole."""
    untils = [until for model in row.model_health if (until := cool_until(row, model)) is not None]
    row.cool_until = max(untils, default=None)
    row.save(update_fields=["model_health", "cool_until", *names])


def clear(channel: Channel) -> None:
    """The operator says the road is fine again."""
    Channel.objects.filter(pk=channel.pk).update(
        disabled_reason="", failures_in_a_row=0, cool_until=None, model_health={}
    )
