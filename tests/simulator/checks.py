"""What must be so: after every commit, after every step, and when all has come to rest. Each check yields sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import timedelta

from django.conf import settings
from django.db import connection
from django.db.models.functions import Now

from accounts.ledger.models import Entry, Hold, Wallet
from generation import audit, catalog, decoding, pricing
from generation.channels.routing import MAX_UNKNOWNS
from generation.contract import SIZES
from generation.models import LIVE_STATES, Attempt, Charge, Generation, Media, Output, Price, State
from tests.simulator.upstream import IMAGES
from tests.simulator.world import World

_LIVE = ", ".join(f"'{state}'" for state in LIVE_STATES)

_BREACHES = """
SELECT a.id, o.state, a.lease_number, o.lease_number FROM generation_attempt a
JOIN generation_output o ON o.id = a.output_id
WHERE a.id > %s AND (o.state <> 'sent' OR o.lease_number <> a.lease_number OR a.status <> 'sent')
"""
# One query for all that may be wrong after a step: this runs thousands of times. Ids are text, as UUIDs and numbers mix.
_ROAD = {
    "an output and its hold disagree": f"""
        SELECT o.id AS row_id, o.state || ', ' || COALESCE(h.state, 'none') AS detail
        FROM generation_output o LEFT JOIN ledger_hold h ON h.output_id = o.id
        WHERE o.quote_micros > 0 AND COALESCE(h.state, 'none') <> CASE WHEN o.state IN ({_LIVE}) THEN 'open'
          WHEN o.state = 'succeeded' AND o.price_micros > 0 THEN 'captured' ELSE 'released' END""",
    "a charge without success, or success without a charge": """
        SELECT o.id AS row_id, o.state AS detail FROM generation_output o
        WHERE (o.state = 'succeeded') <> EXISTS (SELECT 1 FROM generation_charge c WHERE c.output_id = o.id)""",
    "an image without success, or success without an image": """
        SELECT o.id AS row_id, o.state AS detail FROM generation_output o WHERE (o.state IN ('received', 'succeeded'))
          <> EXISTS (SELECT 1 FROM generation_media m WHERE m.output_id = o.id)""",
    "not one delivered attempt for an image": """
        SELECT o.id AS row_id, o.state AS detail FROM generation_output o
        WHERE (SELECT COUNT(*) FROM generation_attempt a WHERE a.output_id = o.id AND a.is_delivered)
          <> CASE WHEN o.state IN ('received', 'succeeded') THEN 1 ELSE 0 END""",
    "a generation does not agree with its outputs": f"""
        SELECT g.id AS row_id, g.status AS detail FROM generation_generation g
        WHERE g.open_count <> (SELECT COUNT(*) FROM generation_output o WHERE o.generation_id = g.id
            AND o.state IN ({_LIVE}))
          OR (g.open_count = 0) <> (g.status IN ('succeeded', 'failed', 'canceled'))""",
}
_MONEY = {
    "I1: a wallet is not the sum of its entries": """
        SELECT w.id AS row_id, w.mode AS detail FROM ledger_wallet w WHERE w.available_micros <> (
            SELECT COALESCE(SUM(CASE WHEN e.destination = 'available' THEN e.amount_micros
              WHEN e.source = 'available' THEN -e.amount_micros ELSE 0 END), 0)
            FROM ledger_entry e WHERE e.wallet_id = w.id)
          OR w.held_micros <> (
            SELECT COALESCE(SUM(CASE WHEN e.destination = 'held' THEN e.amount_micros
              WHEN e.source = 'held' THEN -e.amount_micros ELSE 0 END), 0)
            FROM ledger_entry e WHERE e.wallet_id = w.id)""",
    "I2, I3: a wallet is not its newest entry, or its entries have gaps": """
        SELECT w.id AS row_id, w.mode AS detail FROM ledger_wallet w
        WHERE w.head_sequence <> (SELECT COUNT(*) FROM ledger_entry e WHERE e.wallet_id = w.id)
          OR w.head_sequence > 0 AND NOT EXISTS (
            SELECT 1 FROM ledger_entry e WHERE e.wallet_id = w.id AND e.sequence = w.head_sequence
              AND e.available_after_micros = w.available_micros AND e.held_after_micros = w.held_micros
              AND e.debt_after_micros = w.debt_micros)""",
    "I5: money on hold is not the sum of the open holds": """
        SELECT w.id AS row_id, w.mode AS detail FROM ledger_wallet w WHERE w.held_micros <> (
            SELECT COALESCE(SUM(h.authorized_micros), 0) FROM ledger_hold h
            WHERE h.wallet_id = w.id AND h.state = 'open')""",
    "I6: a hold is not its entries": """
        SELECT h.id AS row_id, h.state AS detail FROM ledger_hold h WHERE h.captured_micros <> (
            SELECT COALESCE(SUM(e.amount_micros), 0) FROM ledger_entry e WHERE e.hold_id = h.id AND e.kind = 'capture')
          OR h.released_micros <> (
            SELECT COALESCE(SUM(e.amount_micros), 0) FROM ledger_entry e WHERE e.hold_id = h.id AND e.kind = 'release')
          OR h.authorized_micros <> (
            SELECT COALESCE(SUM(e.amount_micros), 0) FROM ledger_entry e WHERE e.hold_id = h.id AND e.kind = 'hold')""",
    "I7: a balance is not what is left in its lots": """
        SELECT w.id AS row_id, w.mode AS detail FROM ledger_wallet w WHERE w.available_micros + w.held_micros <> (
            SELECT COALESCE(SUM(l.remaining_micros), 0) FROM ledger_lot l WHERE l.wallet_id = w.id)""",
    "I8: a lot is not its grant minus its uses": """
        SELECT l.id AS row_id, l.kind AS detail FROM ledger_lot l WHERE l.remaining_micros <> l.granted_micros - (
            SELECT COALESCE(SUM(u.amount_micros), 0) FROM ledger_lotuse u WHERE u.lot_id = l.id)""",
    "a key's budget is not its holds": """
        SELECT b.id AS row_id, '' AS detail FROM ledger_budgetperiod b WHERE b.reserved_micros <> (
            SELECT COALESCE(SUM(h.authorized_micros), 0) FROM ledger_hold h
            WHERE h.budget_period_id = b.id AND h.state = 'open')
          OR b.spent_micros <> (
            SELECT COALESCE(SUM(h.captured_micros), 0) FROM ledger_hold h WHERE h.budget_period_id = b.id)""",
}


def _together(checks: Mapping[str, str]) -> str:
    """One statement that gives a row (number of the check, id, detail) for each thing that is wrong."""
    return "\nUNION ALL ".join(
        f"SELECT {place}, CAST(found.row_id AS TEXT), found.detail FROM ({query}) found"
        for place, query in enumerate(checks.values())
    )


_ROAD_QUERY, _MONEY_QUERY = _together(_ROAD), _together(_MONEY)


def _rows(query: str, *values: object) -> list[tuple[object, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query, values or None)
        return list(cursor.fetchall())


def after_commit(world: World) -> Iterator[str]:
    """A new attempt is committed together with `sent`, by whoever holds the lease at that moment."""
    if not world.machine.has_sent:
        return
    world.machine.has_sent = False
    for attempt, state, own, current in _rows(_BREACHES, world.last_attempt):
        yield f"attempt {attempt} of lease {own} went out while the output was {state} under lease {current}"
    late = Attempt.objects.filter(pk__gt=world.last_attempt, output__lease_until__lte=Now())
    for attempt_id in late.values_list("pk", flat=True):
        yield f"attempt {attempt_id} went out after its lease had ended"
    new = list(Attempt.objects.filter(pk__gt=world.last_attempt).values_list("pk", flat=True))
    world.most_together = max(world.most_together, len(new))
    world.last_attempt = max([world.last_attempt, *new])


def after_step(world: World) -> Iterator[str]:
    """The cheap part of the audit, on everything there is, where something was written since the last look."""
    machine = world.machine
    if machine.has_moved_money:
        yield from _wrong(_MONEY, _MONEY_QUERY)
    if machine.has_written:
        yield from _wrong(_ROAD, _ROAD_QUERY)
    machine.has_moved_money = machine.has_written = False


def _wrong(checks: Mapping[str, str], query: str) -> Iterator[str]:
    sentences = list(checks)
    for place, row_id, detail in _rows(query):
        yield f"{sentences[int(str(place))]}: {row_id} {detail}"


def at_rest(world: World) -> Iterator[str]:
    """Everything, once nothing moves any more."""
    for violation in audit.violations():
        yield f"{violation.invariant}: {violation.detail}"
    world.machine.has_moved_money = world.machine.has_written = True
    yield from after_step(world)
    yield from _nothing_open()
    yield from _money(world)
    yield from _calls(world)
    yield from _images(world)
    yield from _clients(world)


def _nothing_open() -> Iterator[str]:
    for output in Output.objects.filter(state__in=LIVE_STATES):
        yield f"output {output.pk} is still {output.state}"
    for hold in Hold.objects.filter(state="open"):
        yield f"hold {hold.pk} is still open"
    for attempt in Attempt.objects.filter(status=Attempt.Status.SENT):
        yield f"attempt {attempt.pk} is still out"
    for generation in Generation.objects.filter(finished_at=None):
        yield f"generation {generation.pk} has no end"


def _money(world: World) -> Iterator[str]:
    """Every wallet is what was put in minus the prices of what was delivered, reckoned without the ledger."""
    spent: Counter[tuple[object, str]] = Counter()
    for account, mode, price in Output.objects.filter(state=State.SUCCEEDED).values_list(
        "account_id", "mode", "price_micros"
    ):
        spent[account, mode] += price
    for wallet in Wallet.objects.all():
        place = (wallet.account_id, wallet.mode)
        expected = world.granted.get(place, 0) - spent[place]
        if (wallet.available_micros, wallet.held_micros, wallet.debt_micros) != (expected, 0, 0):
            yield f"wallet {wallet.pk} has {wallet.available_micros} and should have {expected}"
    for charge in Charge.objects.select_related("output__generation__price", "output__media"):
        if charge.price_micros not in _fair_prices(charge):
            yield f"charge {charge.pk} is {charge.price_micros}, which is no price of what was delivered"
    for capture in Entry.objects.filter(kind="capture", charge=None):
        yield f"entry {capture.pk} took money for nothing"


def _fair_prices(charge: Charge) -> set[int]:
    """The price of the delivered size when it was asked for, or one that a process may still have remembered then."""
    generation, media = charge.output.generation, charge.output.media
    size = decoding.size_class(media.width, media.height)
    prices = [generation.price]
    if SIZES.index(size) < SIZES.index(generation.image_size):
        book = Price.objects.filter(
            image_model_id=generation.image_model_id, image_size=size, lane="standard"
        ).order_by("-valid_from")
        known_before = generation.created_at - timedelta(seconds=settings.NBP_CATALOGUE_SECONDS)
        rows = list(book.filter(valid_from__lte=generation.created_at))
        older = [row for row in rows if row.valid_from <= known_before]
        prices = [row for row in rows if row.valid_from > known_before] + older[:1]
    images = generation.input_image_count
    return {
        min(
            charge.quote_micros,
            pricing.sale_price(
                catalog.sale_rates(price), reference_count=images, input_text_tokens=9, is_grounded=False
            ),
        )
        for price in prices
    }


def _calls(world: World) -> Iterator[str]:
    """Calls and attempts are one to one, but for attempts whose worker died or lost its connection before the call."""
    called = {(each.output_id, each.call.attempt_number): each for each in world.upstream.calls}
    attempts = {(row.output_id, row.number): row for row in Attempt.objects.select_related("output")}
    for place in called.keys() - attempts.keys():
        yield f"call {called[place].number} has no attempt"
    uncalled = Counter(output_id for output_id, _ in attempts.keys() - called.keys())
    for output_id, count in uncalled.items():
        if count > world.machine.cut_short.count(output_id):
            yield f"{count} attempts of output {output_id} were never called, and nobody died before that"
    for place in called.keys() & attempts.keys():
        yield from _ends_as_answered(called[place].answer, attempts[place])
    unknown = Attempt.objects.filter(status=Attempt.Status.UNKNOWN, error_kind="unknown")
    for output_id, count in Counter(unknown.values_list("output_id", flat=True)).items():
        if count > MAX_UNKNOWNS:
            yield f"output {output_id} went unanswered {count} times"


def _ends_as_answered(answer: str, attempt: Attempt) -> Iterator[str]:
    """An attempt never claims what the provider did not say."""
    if attempt.is_delivered and answer not in IMAGES:
        yield f"attempt {attempt.pk} delivered although the provider's answer was {answer}"
    if attempt.status == Attempt.Status.ERROR and attempt.cost_micros:
        yield f"attempt {attempt.pk} was answered with an error, which is free, and cost {attempt.cost_micros}"
    if attempt.finished_at is None:
        yield f"attempt {attempt.pk} has no end"


def _images(world: World) -> Iterator[str]:
    """Every image is one the provider made for that very output; files without a row are the dead workers'."""
    for row in Media.objects.all():
        made_for, _ = world.upstream.images.get(row.sha256, (None, ""))
        if made_for != row.output_id:
            yield f"output {row.output_id} has an image that was made for {made_for}"
    known = set(Media.objects.values_list("storage_name", flat=True))
    strays = [name for name in world.disk.files if name not in known and name.startswith("outputs/")]
    if len(strays) > len(world.machine.cut_short):
        yield f"{len(strays)} files without a row, more than workers died or lost the database"


def _clients(world: World) -> Iterator[str]:
    """One key, one generation; nobody has a generation that no client asked for."""
    by_key: dict[tuple[object, str, str], set[object]] = {}
    told = set()
    for wish in world.wishes:
        told |= wish.generation_ids
        if wish.key:
            by_key.setdefault((wish.requester.account.pk, wish.requester.mode, wish.key), set()).update(
                wish.generation_ids
            )
    for wish in world.wishes:
        if wish.key and not wish.generation_ids and not wish.refusals:
            yield f"w{wish.number} asked {wish.asked_count} times and was never answered"
    for key, generation_ids in by_key.items():
        if len(generation_ids) > 1:
            yield f"key {key[2]} answered {len(generation_ids)} generations"
    untold = set(Generation.objects.values_list("pk", flat=True)) - told
    unanswered = sum(wish.unanswered_count for wish in world.wishes)
    if len(untold) > unanswered:
        yield f"{len(untold)} generations that nobody was told of, for {unanswered} unanswered requests"
    for generation_id in told - set(Generation.objects.values_list("pk", flat=True)):
        yield f"a client was told of generation {generation_id}, which does not exist"
