"""Free questions to providers, now and then: is the key good, is money left, are our models offered.

A wrong key is found before a customer's prompt finds it. That nobody answers says nothing of the channel. Of all
workers one asks, since whoever marks the row first does.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection
from django.db.models import Q

from accounts.money import usd
from accounts.sealed import SealBroken
from accounts.transactions import forbid_transaction
from generation import media
from generation.channels import health, registry
from generation.channels.adapter import Checked
from generation.channels.models import Channel
from generation.channels.seed import HOUSE, SANDBOX
from generation.contract import ChannelError
from generation.egress import loop
from generation.models import ImageModel

logger = logging.getLogger(__name__)
_MARGIN_SECONDS = 60.0
# By this a provider may mean the list we asked for, and not our key.
_FORBIDDEN = 403


def check_due(*, now: datetime) -> int:
    """Ask the providers of all channels whose time has come; how many those were."""
    if not settings.NBP_CHANNEL_CHECK_SECONDS:
        return 0
    is_due = Q(checked_at=None) | Q(checked_at__lte=now - timedelta(seconds=settings.NBP_CHANNEL_CHECK_SECONDS))
    rows = Channel.objects.filter(is_due, account=None, is_enabled=True, disabled_reason="").order_by("pk")
    rows = rows.exclude(kind__in=(SANDBOX, *HOUSE))
    count = 0
    for row in rows:
        if registry.is_ready(row) and _marked(row, now):
            count += 1
            _check_apart(row, now)
    return count


def _check_apart(row: Channel, now: datetime) -> None:
    """What goes wrong with one channel does not keep the others from being asked."""
    try:
        check(row, now=now)
    except Exception:
        logger.exception("channel %s cannot be asked", row.name)


def _marked(row: Channel, now: datetime) -> bool:
    return bool(Channel.objects.filter(pk=row.pk, checked_at=row.checked_at).update(checked_at=now))


def check(channel: Channel, *, now: datetime) -> str:
    """Ask a channel's provider what costs nothing, and note it on the row: what was found, in words."""
    try:
        words, balance_micros = _found(channel, now)
    except ChannelError as error:
        words, balance_micros = f"{error.kind}: {error.message}"[:300], channel.balance_micros
        # Another key may have been entered meanwhile.
        is_same = Channel.objects.filter(pk=channel.pk, sealed_secret=channel.sealed_secret).exists()
        if error.kind == "unauthorized" and error.status != _FORBIDDEN and is_same:
            health.note_error(str(channel.pk), "", error, now=now)
    except (loop.CallCanceled, TimeoutError, SealBroken) as error:
        words, balance_micros = f"not asked: {type(error).__name__}", channel.balance_micros
    Channel.objects.filter(pk=channel.pk).update(checked_at=now, check_words=words, balance_micros=balance_micros)
    return words


def _found(channel: Channel, now: datetime) -> tuple[str, int | None]:
    found = _ask(channel)
    if found is None:
        return "there is nobody to ask", None
    missing = _missing(channel, found.models) if found.models is not None else []
    told = f"does not offer {', '.join(missing)}" if missing else "offers its models"
    words = [told if found.models is not None else "names no models"]
    if missing and told not in channel.check_words:
        logger.error("channel %s %s", channel.name, told)
    balance = found.balance_micros
    if balance is not None:
        words.append(f"{usd(balance)} left")
        _look_at_balance(channel, balance)
    return "; ".join(words)[:300], balance


def _ask(channel: Channel) -> Checked | None:
    adapter, credentials = registry.ADAPTERS[channel.kind], registry.credentials_of(channel)
    forbid_transaction()
    connection.close()
    return loop.run(adapter.check(credentials, media.spool_directory()), timeout_seconds=_MARGIN_SECONDS)


def _missing(channel: Channel, offered: frozenset[str]) -> list[str]:
    """The models that the channel serves and its provider does not list."""
    rows = ImageModel.objects.filter(is_enabled=True).order_by("name")
    served = [row for row in rows if registry.serves(channel, row.name)]
    return [row.name for row in served if registry.upstream_model_of(channel, row) not in offered]


def _look_at_balance(channel: Channel, balance: int) -> None:
    """Say once that money is running out. Only the provider knows whether it still serves."""
    low = settings.NBP_CHANNEL_LOW_BALANCE_MICROS
    if balance < low and (channel.balance_micros is None or channel.balance_micros >= low):
        logger.error("channel %s has %s left with its provider", channel.name, usd(balance))
