"""What a worker does about payments every second: events, payments and refunds that wait, recharges, mails."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from django.db import DatabaseError
from django.db.models import F

from accounts.notices import outbox
from accounts.payments import auto_recharge, connection, following, inbox, refunds, top_ups
from accounts.payments.facts import NotFromStripe, StripeRefused, StripeUnavailable
from accounts.payments.models import Payment, Refund
from accounts.payments.models.payments import UNFINISHED

logger = logging.getLogger(__name__)
_LONGEST_PAUSE = timedelta(hours=1)
_MAX_CHECKS = 400
_CANNOT = (StripeUnavailable, StripeRefused, top_ups.TopUpUnavailable)


def advance(*, now: datetime) -> None:
    """One round. Every part of it can be done by several workers at once, and none keeps the others from being done."""
    stripe = connection.current()
    if stripe is not None:
        if stripe.fake is not None:
            stripe.fake.advance(_deliver)
        for part in (inbox.work_off, _check_payments, _check_refunds, auto_recharge.run_due):
            _do(part, now=now)
    _do(outbox.send_due, now=now)


def _do(part: Callable[..., object], *, now: datetime) -> None:
    try:
        part(now=now)
    except DatabaseError:
        raise
    except Exception:
        logger.exception("a part of the round failed: %s", getattr(part, "__name__", part))


def _deliver(_: str, body: bytes, headers: dict[str, str]) -> int:
    """The fake's webhook, without a network."""
    try:
        inbox.take(body, headers["Stripe-Signature"], now=datetime.now(UTC))
    except NotFromStripe:
        return 400
    return 200


def _claim(row: Payment | Refund, *, now: datetime) -> bool:
    """Take a row that is due; the next look is later and later."""
    pause = min(_LONGEST_PAUSE, timedelta(seconds=30 * 1.5 ** min(row.checks, 20)))
    again = now + pause if row.checks < _MAX_CHECKS else None
    rows = type(row)._default_manager.filter(pk=row.pk, next_check_at=row.next_check_at)
    return bool(rows.update(next_check_at=again, checks=F("checks") + 1))


def _check_payments(*, now: datetime, limit: int = 20) -> None:
    for row in Payment.objects.filter(next_check_at__lte=now).order_by("next_check_at")[:limit]:
        if not _claim(row, now=now):
            continue
        try:
            if row.state in UNFINISHED:
                following.follow(row, now=now)
        except _CANNOT as error:
            logger.warning("payment %s could not be checked: %s", row.public_id, error)


def _check_refunds(*, now: datetime, limit: int = 20) -> None:
    for row in (
        Refund.objects.select_related("payment").filter(next_check_at__lte=now).order_by("next_check_at")[:limit]
    ):
        if not _claim(row, now=now):
            continue
        row.checks += 1
        try:
            refunds.check(row, now=now)
        except _CANNOT as error:
            logger.warning("refund %s could not be checked: %s", row.public_id, error)
