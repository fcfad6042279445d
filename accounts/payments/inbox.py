"""Webhooks: verified, kept once, and worked off by asking Stripe again. An event is a nudge, never a fact."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import F, QuerySet

from accounts.payments import connection, following, lost_rows, top_ups
from accounts.payments.facts import EventFacts, NotFromStripe, StripeRefused, StripeUnavailable
from accounts.payments.models import Payment, StripeEvent
from accounts.payments.stripe_gateway import API_VERSION

logger = logging.getLogger(__name__)
_CLAIM = timedelta(minutes=2)
_TRIES = 12
_RETURNS = ("refund.", "charge.")


def take(body: bytes, signature: str, *, now: datetime) -> bool:
    """Keep the event in a webhook's body; False if it is known. Raises NotFromStripe."""
    stripe = connection.current()
    if stripe is None:
        raise NotFromStripe("Payments are not set up here.")
    return keep(stripe.verifier.event(body, signature), now=now)


def keep(event: EventFacts, *, now: datetime, is_backfilled: bool = False) -> bool:
    """Write an event down, once."""
    fields = {
        "type": event.type,
        "api_version": event.api_version,
        "livemode": event.livemode,
        "object_id": event.object_id,
        "intent_id": event.intent_id,
        "created": event.created,
        "payload": event.payload,
        "is_backfilled": is_backfilled,
        "received_at": now,
        "next_try_at": now,
    }
    _, is_new = StripeEvent.objects.get_or_create(stripe_event_id=event.id, defaults=fields)
    if is_new and event.api_version != API_VERSION:
        # What is asked for again comes in our version, so the money is right; the endpoint should be made anew.
        logger.warning("an event came in version %s instead of %s", event.api_version or "?", API_VERSION)
    return is_new


def work_off(*, now: datetime, limit: int = 50) -> int:
    """Follow the events that wait, each by one worker. Answers how many were followed."""
    count = 0
    for row in StripeEvent.objects.filter(next_try_at__lte=now).order_by("next_try_at", "pk")[:limit]:
        claimed = StripeEvent.objects.filter(pk=row.pk, next_try_at=row.next_try_at).update(
            next_try_at=now + _CLAIM, tries=F("tries") + 1
        )
        if claimed:
            _work(row, now=now)
            count += 1
    return count


def _work(row: StripeEvent, *, now: datetime) -> None:
    try:
        follow(row, now=now)
    except (StripeUnavailable, StripeRefused, top_ups.TopUpUnavailable) as error:
        logger.warning("event %s waits: %s", row.stripe_event_id, error)
        _again(row, str(error), now=now)
    except Exception as error:
        # One event that nobody foresaw does not keep the others from being followed.
        logger.exception("event %s could not be followed", row.stripe_event_id)
        _again(row, f"{type(error).__name__}: {error}", now=now)
    else:
        StripeEvent.objects.filter(pk=row.pk).update(next_try_at=None, processed_at=now, error="")


def _again(row: StripeEvent, why: str, *, now: datetime) -> None:
    pause = timedelta(seconds=min(3_600, 5 * 2**row.tries))
    again = now + pause if row.tries + 1 < _TRIES else None
    StripeEvent.objects.filter(pk=row.pk).update(next_try_at=again, error=why[:500])


def follow(row: StripeEvent, *, now: datetime) -> None:
    """Bring the payment an event is about to where Stripe says it is. Harmless to repeat."""
    payment = _payment_of(row)
    if payment is None:
        return
    following.follow(payment, now=now, is_whole=row.type.startswith(_RETURNS))


def _payment_of(row: StripeEvent) -> Payment | None:
    by_session = Payment.objects.filter(stripe_session_id=row.object_id).first() if row.object_id else None
    if by_session is not None or not row.intent_id:
        return by_session
    stripe = connection.current()
    assert stripe is not None
    return lost_rows.payment_of(stripe.gateway.intent(row.intent_id))


def replay(row: StripeEvent, *, now: datetime) -> None:
    """Have an event followed again."""
    StripeEvent.objects.filter(pk=row.pk).update(next_try_at=now, tries=0, error="")


def reopen_given_up(*, now: datetime) -> int:
    """Have events followed again whose tries were used up, say by a day without Stripe."""
    rows = StripeEvent.objects.filter(processed_at=None, next_try_at=None)
    return rows.update(next_try_at=now, tries=0)


def forget(*, now: datetime, limit: int = 500) -> int:
    """Empty the bodies of events that were followed long ago: people's names stand in them, and Stripe has them, too.
    The ids stay, so that an event that comes again is known. Answers how many were emptied."""
    old = list(_old(now).values_list("pk", flat=True)[:limit])
    return StripeEvent.objects.filter(pk__in=old).update(payload="")


def overdue(*, now: datetime) -> int:
    """How many bodies `forget` would empty by and by."""
    return _old(now).count()


def _old(now: datetime) -> QuerySet[StripeEvent]:
    days = settings.NBP_RETENTION_EVENT_DAYS
    if not days:
        return StripeEvent.objects.none()
    return StripeEvent.objects.filter(processed_at__lt=now - timedelta(days=days)).exclude(payload="")
