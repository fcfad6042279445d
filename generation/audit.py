"""Proof of the road: invariants that need both outputs and money. Each check yields what breaks it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta

from django.conf import settings
from django.db import connection
from django.db.models import Count, Exists, F, OuterRef, Q, Sum
from django.db.models.functions import Now

from accounts.ledger import audit as ledger_audit
from accounts.ledger.audit import Violation
from accounts.ledger.models import Hold
from accounts.payments import audit as payments_audit
from generation import media
from generation.channels.routing import MAX_ATTEMPTS, MAX_ERRORS_PER_CHANNEL, MAX_UNKNOWNS
from generation.models import LIVE_STATES, Attempt, BatchItem, Charge, Generation, Media, Output, State
from generation.triggers import GUARDS

_CHUNK = 1000
_Row = tuple[uuid.UUID, str, int, int | None]


def _hold_states(output_ids: list[uuid.UUID]) -> dict[uuid.UUID, str]:
    return dict(Hold.objects.filter(output_id__in=output_ids).values_list("output_id", "state"))


def outputs_agree_with_holds() -> Iterator[str]:
    """I9 to I11: a live output has an open hold, a succeeded one a captured hold, any other end a released one."""
    expected = {State.SUCCEEDED: "captured", State.FAILED: "released", State.CANCELED: "released"}
    expected |= dict.fromkeys(LIVE_STATES, "open")
    rows = Output.objects.order_by("pk").values_list("pk", "state", "quote_micros", "price_micros")
    for chunk in _chunks(rows.iterator(chunk_size=_CHUNK)):
        states = _hold_states([row[0] for row in chunk])
        for output_id, state, quote, price in chunk:
            wanted = expected[State(state)] if quote else None
            if state == State.SUCCEEDED and not price:
                wanted = "released" if quote else None
            if states.get(output_id) != wanted:
                yield f"output {output_id} is {state} but its hold is {states.get(output_id)}"


def _chunks(rows: Iterator[_Row]) -> Iterator[list[_Row]]:
    chunk: list[_Row] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == _CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def holds_have_outputs() -> Iterator[str]:
    """I11: every hold names an output that exists."""
    known = Output.objects.filter(pk=OuterRef("output_id"))
    for hold in Hold.objects.filter(~Exists(known)).values_list("pk", flat=True):
        yield f"hold {hold} names an output that does not exist"


def delivered_outputs_are_charged_once() -> Iterator[str]:
    """I9, I10: succeeded means one charge, one image and one delivered attempt; any other end means no charge."""
    broken = Output.objects.filter(
        Q(state=State.SUCCEEDED) & (Q(charge__isnull=True) | Q(media__isnull=True))
        | ~Q(state=State.SUCCEEDED) & Q(charge__isnull=False)
    )
    for output in broken:
        yield f"output {output.pk} is {output.state} without what belongs to that"
    delivered = Output.objects.filter(state=State.SUCCEEDED).annotate(
        count=Count("attempts", filter=Q(attempts__is_delivered=True))
    )
    for output in delivered.exclude(count=1):
        yield f"output {output.pk} has {output.count} delivered attempts"


def charges_agree() -> Iterator[str]:
    """I12: a charge equals its output's price and its entry's amount, and carries the hash of the stored image."""
    for charge in Charge.objects.exclude(price_micros=F("output__price_micros")):
        yield f"charge {charge.pk} differs from its output's price"
    for charge in Charge.objects.filter(entry__isnull=False).exclude(
        price_micros=F("entry__amount_micros"), entry__kind="capture"
    ):
        yield f"charge {charge.pk} differs from its ledger entry"
    for charge in Charge.objects.exclude(media_sha256=F("output__media__sha256")):
        yield f"charge {charge.pk} is for another image than the one stored"


def generations_equal_their_outputs() -> Iterator[str]:
    """A generation's counts, price and status are those of its outputs."""
    rows = Generation.objects.annotate(
        live=Count("outputs", filter=Q(outputs__state__in=LIVE_STATES)),
        succeeded=Count("outputs", filter=Q(outputs__state=State.SUCCEEDED)),
        total=Sum("outputs__price_micros", default=0),
    )
    wrong = rows.exclude(open_count=F("live"), succeeded_count=F("succeeded"), price_micros=F("total"))
    ended_wrongly = rows.filter(Q(live=0, finished_at=None) | Q(live__gt=0, finished_at__isnull=False))
    for generation in wrong.union(ended_wrongly):
        yield f"generation {generation.pk} does not agree with its outputs"


def attempts_are_bounded() -> Iterator[str]:
    """I13: nobody is called more often than the rules allow."""
    per_channel = Attempt.objects.filter(status=Attempt.Status.ERROR).values(
        "output_id", "channel_id", "image_model_id"
    )
    for row in per_channel.annotate(count=Count("id")).filter(count__gt=MAX_ERRORS_PER_CHANNEL):
        yield f"output {row['output_id']} had {row['count']} errors on channel {row['channel_id']}"
    unknown = Attempt.objects.filter(status=Attempt.Status.UNKNOWN, error_kind="unknown").values("output_id")
    for each in unknown.annotate(count=Count("id")).filter(count__gt=MAX_UNKNOWNS):
        yield f"output {each['output_id']} went unanswered {each['count']} times"
    for output in Output.objects.annotate(count=Count("attempts")).filter(count__gt=MAX_ATTEMPTS):
        yield f"output {output.pk} had {output.count} attempts"


def finished_outputs_have_no_open_attempt() -> Iterator[str]:
    """No attempt is still out for an output that has ended, unless a late answer may still come."""
    age = timedelta(
        seconds=max(settings.NBP_CALL_DEADLINE_SECONDS, settings.NBP_FLEX_DEADLINE_SECONDS)
        + 3 * settings.NBP_LEASE_SECONDS
    )
    open_attempts = Attempt.objects.filter(status=Attempt.Status.SENT, started_at__lt=Now() - age).exclude(
        output__state__in=LIVE_STATES
    )
    for attempt in open_attempts:
        yield f"attempt {attempt.pk} is still out although its output has ended"


def images_are_readable() -> Iterator[str]:
    """I9: every delivered image that was not purged lies in storage with the hash that was charged."""
    for row in Media.objects.filter(output__state=State.SUCCEEDED, purged_at=None).iterator(chunk_size=_CHUNK):
        if not media.exists(row.storage_name):
            yield f"the image of output {row.output_id} is gone: {row.storage_name}"
        elif media.sha256_of(row.storage_name) != row.sha256:
            yield f"the image of output {row.output_id} has changed: {row.storage_name}"


def ended_batches_have_ended() -> Iterator[str]:
    """Nothing of a batch that has ended is still to be made, and what it made is its own account's."""
    items = BatchItem.objects.filter(batch__ended_at__isnull=False)
    waiting = Q(state=BatchItem.State.PENDING) | Q(generation__isnull=False, generation__finished_at=None)
    for item in items.filter(waiting).iterator(chunk_size=_CHUNK):
        yield f"item {item.index} of batch {item.batch_id} has not ended, but its batch has"
    strange = BatchItem.objects.filter(generation__isnull=False).exclude(
        generation__account=F("batch__account"), generation__mode=F("batch__mode")
    )
    for item in strange.iterator(chunk_size=_CHUNK):
        yield f"item {item.index} of batch {item.batch_id} has somebody else's generation"


def triggers_exist() -> Iterator[str]:
    """I20: every trigger of the road is in the database."""
    for name in GUARDS.missing(connection):
        yield f"trigger {name} is missing"


CHECKS: dict[str, Callable[[], Iterator[str]]] = {
    "I9 to I11: an output agrees with its hold": outputs_agree_with_holds,
    "I11: a hold has its output": holds_have_outputs,
    "I9 and I10: delivered means charged once": delivered_outputs_are_charged_once,
    "I12: a charge equals price, entry and image": charges_agree,
    "a generation equals its outputs": generations_equal_their_outputs,
    "I13: attempts are bounded": attempts_are_bounded,
    "no attempt is out for an ended output": finished_outputs_have_no_open_attempt,
    "I9: every delivered image is readable": images_are_readable,
    "an ended batch has ended": ended_batches_have_ended,
    "I20: the triggers of the road exist": triggers_exist,
}


def violations() -> Iterator[Violation]:
    """Every broken invariant, of the ledger and of the road."""
    yield from ledger_audit.violations()
    yield from payments_audit.violations()
    for invariant, check in CHECKS.items():
        for detail in check():
            yield Violation(invariant, detail)
