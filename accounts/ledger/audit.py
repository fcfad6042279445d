"""Proof of the ledger: each function yields sentences about rows that break an invariant, and none when all is well."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta

from django.db import connection
from django.db.models import Q, Sum

from accounts.ledger.limits import month_of
from accounts.ledger.models import Hold, SpendingPeriod
from accounts.ledger.triggers import GUARDS


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken invariant: its name, and the rows that break it in a sentence."""

    invariant: str
    detail: str


def _rows(query: str) -> list[tuple[object, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query)
        return list(cursor.fetchall())


_SUMS = """
SELECT w.id, w.available_micros, w.held_micros, w.debt_micros, w.head_sequence,
  COALESCE(SUM(CASE WHEN e.destination = 'available' THEN e.amount_micros
    WHEN e.source = 'available' THEN -e.amount_micros ELSE 0 END), 0),
  COALESCE(SUM(CASE WHEN e.destination = 'held' THEN e.amount_micros
    WHEN e.source = 'held' THEN -e.amount_micros ELSE 0 END), 0),
  COALESCE(SUM(CASE WHEN e.source = 'debt' THEN e.amount_micros
    WHEN e.destination = 'debt' THEN -e.amount_micros ELSE 0 END), 0),
  COUNT(e.id), COALESCE(MIN(e.sequence), 0), COALESCE(MAX(e.sequence), 0)
FROM ledger_wallet w LEFT JOIN ledger_entry e ON e.wallet_id = w.id
GROUP BY w.id, w.available_micros, w.held_micros, w.debt_micros, w.head_sequence
"""


def wallets_equal_their_entries() -> Iterator[str]:
    """I1, I3: balances are the sums of the entries, and sequences run from 1 without a gap."""
    for row in _rows(_SUMS):
        wallet, available, held, debt, head, *sums = row
        if [available, held, debt] != sums[:3]:
            yield f"wallet {wallet} holds {[available, held, debt]} but its entries sum to {sums[:3]}"
        count, lowest, highest = sums[3:]
        if (count, highest) != (head, head) or (count and lowest != 1):
            yield f"wallet {wallet} is at {head} but has {count} entries numbered {lowest} to {highest}"


def heads_equal_last_entries() -> Iterator[str]:
    """I2: the wallet equals the `*_after` columns of its newest entry."""
    for (wallet,) in _rows(
        "SELECT w.id FROM ledger_wallet w JOIN ledger_entry e ON e.wallet_id = w.id AND e.sequence = w.head_sequence"
        " WHERE e.available_after_micros <> w.available_micros OR e.held_after_micros <> w.held_micros"
        " OR e.debt_after_micros <> w.debt_micros"
    ):
        yield f"wallet {wallet} differs from its newest entry"


def held_equals_open_holds() -> Iterator[str]:
    """I5: money on hold is the sum of the open holds."""
    for wallet, held, total in _rows(
        "SELECT w.id, w.held_micros, COALESCE(SUM(h.authorized_micros), 0) FROM ledger_wallet w"
        " LEFT JOIN ledger_hold h ON h.wallet_id = w.id AND h.state = 'open' GROUP BY w.id, w.held_micros"
        " HAVING w.held_micros <> COALESCE(SUM(h.authorized_micros), 0)"
    ):
        yield f"wallet {wallet} has {held} on hold but its open holds sum to {total}"


def holds_equal_their_entries() -> Iterator[str]:
    """I6: each hold has its one hold entry, and its captured and released amounts are those of its entries."""
    for hold, *amounts in _rows(
        "SELECT h.id, h.authorized_micros, h.captured_micros, h.released_micros,"
        " COALESCE(SUM(CASE WHEN e.kind = 'hold' THEN e.amount_micros END), 0),"
        " COALESCE(SUM(CASE WHEN e.kind = 'capture' THEN e.amount_micros END), 0),"
        " COALESCE(SUM(CASE WHEN e.kind = 'release' THEN e.amount_micros END), 0)"
        " FROM ledger_hold h LEFT JOIN ledger_entry e ON e.hold_id = h.id"
        " GROUP BY h.id, h.authorized_micros, h.captured_micros, h.released_micros"
    ):
        if amounts[:3] != amounts[3:]:
            yield f"hold {hold} says {amounts[:3]} but its entries say {amounts[3:]}"


def lots_equal_balances() -> Iterator[str]:
    """I7: available plus held is what is left in the lots."""
    for wallet, balance, remaining in _rows(
        "SELECT w.id, w.available_micros + w.held_micros, COALESCE(SUM(l.remaining_micros), 0) FROM ledger_wallet w"
        " LEFT JOIN ledger_lot l ON l.wallet_id = w.id GROUP BY w.id, w.available_micros, w.held_micros"
        " HAVING w.available_micros + w.held_micros <> COALESCE(SUM(l.remaining_micros), 0)"
    ):
        yield f"wallet {wallet} has {balance} but its lots have {remaining} left"


def lots_equal_their_uses() -> Iterator[str]:
    """I8: what is left of a lot is what was granted minus what was used."""
    for lot, remaining, used in _rows(
        "SELECT l.id, l.remaining_micros, COALESCE(SUM(u.amount_micros), 0) FROM ledger_lot l"
        " LEFT JOIN ledger_lotuse u ON u.lot_id = l.id GROUP BY l.id, l.granted_micros, l.remaining_micros"
        " HAVING l.remaining_micros <> l.granted_micros - COALESCE(SUM(u.amount_micros), 0)"
    ):
        yield f"lot {lot} has {remaining} left although {used} of it was used"


def budgets_equal_their_holds() -> Iterator[str]:
    """A key's reserved and spent budget are those of the holds it made."""
    for period, *amounts in _rows(
        "SELECT b.id, b.reserved_micros, b.spent_micros,"
        " COALESCE(SUM(CASE WHEN h.state = 'open' THEN h.authorized_micros END), 0),"
        " COALESCE(SUM(h.captured_micros), 0)"
        " FROM ledger_budgetperiod b LEFT JOIN ledger_hold h ON h.budget_period_id = b.id"
        " GROUP BY b.id, b.reserved_micros, b.spent_micros"
    ):
        if amounts[:2] != amounts[2:]:
            yield f"budget period {period} says {amounts[:2]} but its holds say {amounts[2:]}"


def spending_equals_holds() -> Iterator[str]:
    """A limited wallet's month is the sum of the holds that were made in it."""
    for period in SpendingPeriod.objects.exclude(wallet__monthly_limit_micros=None).select_related("wallet"):
        until = month_of(period.starts_at + timedelta(days=32))
        sums = Hold.objects.filter(
            wallet_id=period.wallet_id, created_at__gte=period.starts_at, created_at__lt=until
        ).aggregate(reserved=Sum("authorized_micros", filter=Q(state="open")), spent=Sum("captured_micros"))
        counted, held = (period.reserved_micros, period.spent_micros), (sums["reserved"] or 0, sums["spent"] or 0)
        if counted != held:
            yield f"spending period {period.pk} says {counted} but its holds say {held}"


def triggers_exist() -> Iterator[str]:
    """I20: every trigger of the ledger is in the database."""
    for name in GUARDS.missing(connection):
        yield f"trigger {name} is missing"


CHECKS: dict[str, Callable[[], Iterator[str]]] = {
    "I1 and I3: a wallet equals the sum of its entries, numbered without a gap": wallets_equal_their_entries,
    "I2: a wallet equals its newest entry": heads_equal_last_entries,
    "I5: money on hold equals the open holds": held_equals_open_holds,
    "I6: a hold equals its entries": holds_equal_their_entries,
    "I7: a balance equals what is left in its lots": lots_equal_balances,
    "I8: a lot equals its grant minus its uses": lots_equal_their_uses,
    "a key's budget equals its holds": budgets_equal_their_holds,
    "a wallet's spending equals its holds": spending_equals_holds,
    "I20: the ledger's triggers exist": triggers_exist,
}


def violations() -> Iterator[Violation]:
    """Every broken invariant of the ledger."""
    for invariant, check in CHECKS.items():
        for detail in check():
            yield Violation(invariant, detail)
