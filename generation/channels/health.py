"""What a call's end does to its channel: cool down, switch off, or forget old failures."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import F, Q

from accounts.group_commit import GroupCommit
from generation.channels import registry
from generation.channels.models import Channel
from generation.channels.seed import HOUSE
from generation.contract import ChannelError

logger = logging.getLogger(__name__)
COOL_AFTER_FAILURES = 5
_COOL_SECONDS = 10.0
_MAX_RETRY_AFTER_SECONDS = 300.0
# One row serves every call of a road: noting each success would make them wait for one another.
_SUCCESS_GRAIN = timedelta(seconds=10)


def note_success(channel: Channel, *, started_at: datetime, now: datetime) -> None:
    """A complete answer, a refusal included: the road works. `channel` is its row as it was before the call."""
    is_noted = channel.last_success_at is not None and channel.last_success_at > now - _SUCCESS_GRAIN
    if not is_noted or channel.failures_in_a_row or str(channel.pk) in _failing:
        _failing.discard(str(channel.pk))
        _SUCCESSES.do((str(channel.pk), started_at, now))


def note_successes(noted: Sequence[tuple[str, datetime, datetime]]) -> list[None]:
    """The same for several calls at once: a channel's row is written once for all of them."""
    for channel_id in {each[0] for each in noted}:
        calls = [each for each in noted if each[0] == channel_id]
        _note_success(channel_id, started_at=max(each[1] for each in calls), now=max(each[2] for each in calls))
    return [None] * len(noted)


_SUCCESSES = GroupCommit(note_successes)
# Channels that failed in this process since they last worked in it.
_failing: set[str] = set()


def _note_success(channel_id: str, *, started_at: datetime, now: datetime) -> None:
    stale = Q(last_success_at=None) | Q(last_success_at__lt=now - _SUCCESS_GRAIN) | Q(failures_in_a_row__gt=0)
    row = Channel.objects.filter(pk=channel_id)
    row.filter(stale).update(failures_in_a_row=0, last_success_at=now)
    # An answer ends a row of failures; a provider's wish to be left alone only ends by a call that left after it.
    row.filter(cool_until__isnull=False, last_error_at__lt=started_at).update(cool_until=None)


def note_error(channel_id: str, error: ChannelError, *, now: datetime) -> None:
    """An error or no answer. A request the upstream calls wrong says nothing about the road."""
    # The sandbox fails when a prompt asks it to: one customer's test must not close the road to the others.
    row = Channel.objects.filter(pk=channel_id).exclude(kind__in=("sandbox", *HOUSE))
    if error.kind in ("rejected", "interrupted") or not row.exists():
        return
    note = f"{error.kind}: {error.message}"[:500]
    if error.kind == "unauthorized":
        row.update(disabled_reason=note, last_error=note, last_error_at=now)
        registry.forget()
        logger.error("channel %s is switched off: %s", channel_id, note)
        return
    _failing.add(channel_id)
    row.update(failures_in_a_row=F("failures_in_a_row") + 1, last_error=note, last_error_at=now)
    _cool_down(channel_id, error, now)


def _cool_down(channel_id: str, error: ChannelError, now: datetime) -> None:
    if error.retry_after_seconds:
        seconds = min(error.retry_after_seconds, _MAX_RETRY_AFTER_SECONDS)
        Channel.objects.filter(pk=channel_id).update(cool_until=now + timedelta(seconds=seconds))
        return
    seconds = _COOL_SECONDS * settings.NBP_RETRY_BASE_SECONDS
    Channel.objects.filter(pk=channel_id, failures_in_a_row__gte=COOL_AFTER_FAILURES).update(
        cool_until=now + timedelta(seconds=seconds)
    )


def clear(channel: Channel) -> None:
    """The operator says the road is fine again."""
    Channel.objects.filter(pk=channel.pk).update(disabled_reason="", failures_in_a_row=0, cool_until=None)
