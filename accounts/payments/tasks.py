"""The worker's task about payments, and the nudge that sends it. Without it the work is done a second later."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from celery import shared_task
from kombu.exceptions import OperationalError

from accounts.payments import rounds

logger = logging.getLogger(__name__)


@shared_task
def advance_payments() -> None:
    """Follow what waits: events, payments, refunds, recharges and mails."""
    rounds.advance(now=datetime.now(UTC))


def nudge() -> None:
    """Have a worker look now. A broker that is away costs a second, not the event."""
    try:
        advance_payments.apply_async(ignore_result=True)
    except (OperationalError, OSError) as error:
        logger.warning("payments wait for the next round: %s", error)
