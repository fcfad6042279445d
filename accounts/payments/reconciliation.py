"""Stripe against the ledger: missed events are fetched, lost payments credited, what still differs is drift."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db.models import Sum

from accounts.payments import audit, connection, following, inbox, lost_rows, top_ups
from accounts.payments.facts import IntentFacts, StripeRefused, StripeUnavailable
from accounts.payments.models import Drift, Payment, Refund
from accounts.payments.models.payments import MICROS_PER_CENT
from accounts.payments.stripe_gateway import StripeGateway
from accounts.transactions import write_transaction

logger = logging.getLogger(__name__)
#: Stripe lists events of thirty days.
EVENT_DAYS = 30
_CANNOT = (StripeUnavailable, StripeRefused, top_ups.TopUpUnavailable)


@dataclass(frozen=True, slots=True)
class Difference:
    """One sentence about Stripe and the ledger that should not be true."""

    subject: str
    invariant: str
    detail: str
    payment: Payment | None = None


@dataclass
class Report:
    """What a run did and found."""

    events_fetched: int = 0
    payments_checked: int = 0
    credited_now: int = 0
    differences: list[Difference] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        return not self.differences


class NotReconciled(Exception):
    """Stripe could not be asked, so nothing is proven."""


def reconcile(*, now: datetime, days: int = 35) -> Report:
    """Compare the last `days` with Stripe, mend what can be mended, and keep the rest as drift.

    Raises NotReconciled where Stripe is not set up or does not answer.
    """
    stripe = connection.current()
    if stripe is None:
        raise NotReconciled("Payments are not set up here.")
    report, since = Report(), now - timedelta(days=days)
    try:
        _fetch_events(stripe.gateway, report, since=max(since, now - timedelta(days=EVENT_DAYS)), now=now)
        _compare(stripe.gateway, report, since=since, now=now)
    except _CANNOT as error:
        raise NotReconciled(f"Stripe could not be asked: {error}") from error
    for each in audit.violations():
        report.differences.append(Difference(f"ledger: {each.detail}"[:255], each.invariant[:3], each.detail))
    _keep(report, now=now)
    return report


def _fetch_events(gateway: StripeGateway, report: Report, *, since: datetime, now: datetime) -> None:
    for event in gateway.events(since=since):
        report.events_fetched += inbox.keep(event, now=now, is_backfilled=True)
    inbox.reopen_given_up(now=now)
    while inbox.work_off(now=now):
        pass


def _compare(gateway: StripeGateway, report: Report, *, since: datetime, now: datetime) -> None:
    """Each payment intent with labels of ours against its row, our rows against the intents that were seen, and what
    differed before however old it is."""
    seen: set[str] = set()
    for intent in gateway.intents(since=since):
        seen.add(intent.id)
        _examine(intent, report, now=now)
    rows = Payment.objects.filter(state=Payment.State.SUCCEEDED, livemode=gateway.livemode, created_at__gte=since)
    credited = ((row.stripe_payment_intent_id or "", row) for row in rows.iterator(chunk_size=1000))
    unseen = {(intent_id, row) for intent_id, row in credited if intent_id not in seen}
    for intent_id, row in unseen | set(_open_drift(gateway, seen)):
        _examine_one(gateway, intent_id, row, report, now=now)


def _open_drift(gateway: StripeGateway, seen: set[str]) -> Iterator[tuple[str, Payment | None]]:
    """What differed at the last look and is older than this one reaches back."""
    for drift in Drift.objects.filter(closed_at=None).select_related("payment"):
        intent_id = (drift.payment.stripe_payment_intent_id if drift.payment else None) or drift.subject.split()[0]
        is_ours = drift.payment is None or drift.payment.livemode == gateway.livemode
        if is_ours and intent_id.startswith("pi_") and intent_id not in seen:
            yield intent_id, drift.payment


def _examine_one(gateway: StripeGateway, intent_id: str, row: Payment | None, report: Report, *, now: datetime) -> None:
    """An intent the list did not show: it may have come while the list was read, or not be there at all."""
    try:
        intent = gateway.intent(intent_id)
    except StripeRefused as error:
        name = row.public_id if row else intent_id
        detail = f"{name} was credited, but Stripe does not know {intent_id}: {error}"
        report.differences.append(Difference(name, "I14", detail, row))
    else:
        _examine(intent, report, now=now)


def _examine(intent: IntentFacts, report: Report, *, now: datetime) -> None:
    if not intent.labels.payment_id:
        return
    report.payments_checked += 1
    try:
        report.differences += _differences(intent, report, now=now)
    except StripeRefused as error:
        words = f"{intent.labels.payment_id} could not be followed: {error}"
        report.differences.append(Difference(intent.id, "I16", words))


def _differences(intent: IntentFacts, report: Report, *, now: datetime) -> list[Difference]:
    row = lost_rows.payment_of(intent)
    is_kept = intent.received_cents > intent.refunded_cents
    if row is None:
        words = f"{intent.received_cents} cents were paid to us by nobody we know"
        return [Difference(intent.id, "I16", words)] if is_kept else []
    was = row.state
    if (was != Payment.State.SUCCEEDED and is_kept) or _has_returns(row, intent):
        row = following.follow(row, now=now, is_whole=True)
        report.credited_now += was != row.state == Payment.State.SUCCEEDED
    return list(_what_differs(row, intent))


def _has_returns(row: Payment, intent: IntentFacts) -> bool:
    return bool(intent.refunded_cents or intent.is_disputed or row.refunds.exists() or row.disputes.exists())


def _what_differs(row: Payment, intent: IntentFacts) -> Iterator[Difference]:
    if row.state == Payment.State.SUCCEEDED:
        yield from _what_differs_of_credited(row, intent)
    elif intent.received_cents > intent.refunded_cents:
        detail = f"{row.public_id} is paid at Stripe but {row.state} here: {row.error}"
        yield Difference(intent.id, "I16", detail, row)


def _what_differs_of_credited(row: Payment, intent: IntentFacts) -> Iterator[Difference]:
    name = row.public_id
    expected = (intent.received_cents - row.tax_cents) * MICROS_PER_CENT
    if row.credit_micros != expected:
        yield Difference(intent.id, "I14", f"{name} brought {row.credit_micros} micros instead of {expected}", row)
    back = _sum_of_refunds(row)
    if back != intent.refunded_cents:
        yield Difference(intent.id, "I15", f"{name}: {back} cents went back here, {intent.refunded_cents} there", row)
    if intent.is_disputed and not row.disputes.exists():
        yield Difference(f"{intent.id} dispute", "I15", f"{name} is disputed at Stripe, not here", row)


def _sum_of_refunds(row: Payment) -> int:
    """Cents of refunds that Stripe knows of and that did not fail."""
    going = row.refunds.exclude(state=Refund.State.FAILED).exclude(stripe_refund_id=None)
    return going.aggregate(total=Sum("amount_cents"))["total"] or 0


def _keep(report: Report, *, now: datetime) -> None:
    """Open drift for what is new, and close what a later run does not find any more."""
    found = {(each.subject, each.invariant): each for each in report.differences}
    with write_transaction():
        for (subject, invariant), each in found.items():
            row, is_new = Drift.objects.get_or_create(
                subject=subject,
                invariant=invariant,
                closed_at=None,
                defaults={"detail": each.detail[:500], "payment": each.payment, "found_at": now, "seen_at": now},
            )
            if not is_new:
                Drift.objects.filter(pk=row.pk).update(detail=each.detail[:500], seen_at=now)
        Drift.objects.filter(closed_at=None, seen_at__lt=now).update(closed_at=now)
    for each in report.differences:
        logger.error("drift: %s: %s", each.invariant, each.detail)
