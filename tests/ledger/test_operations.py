"""Money moves once, within funds, and only together with its entries."""

from __future__ import annotations

import threading
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction

from accounts.ledger import adjustments, operations
from accounts.ledger.adjustments import AdjustmentRefused
from accounts.ledger.budgets import BudgetExceeded, change, period_start
from accounts.ledger.models import BudgetPeriod, Entry, Hold, Lot, LotUse, Wallet
from accounts.transactions import write_transaction

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def _wallet(person: Any, mode: str = "test") -> Wallet:
    return Wallet.objects.get(account=person.account, mode=mode)


def _hold(person: Any, amount: int, *, output_id: uuid.UUID | None = None, with_key: bool = False) -> uuid.UUID:
    output_id = output_id or uuid.uuid4()
    api_key = person.keys["test"].api_key if with_key else None
    with write_transaction():
        operations.hold(
            account_id=person.account.pk, mode="test", amounts={output_id: amount}, api_key=api_key, now=NOW
        )
    return output_id


@pytest.fixture
def ann(make_person: Any) -> Any:
    """A person with exactly one dollar of play money, whose ledger is audited at the end."""
    from accounts.ledger import audit

    person = make_person("ann", test_micros=1_000_000)
    yield person
    assert list(audit.violations()) == []


def test_a_hold_moves_money_aside(ann: Any) -> None:
    _hold(ann, 400_000)
    wallet = _wallet(ann)
    assert (wallet.available_micros, wallet.held_micros, wallet.head_sequence) == (600_000, 400_000, 2)
    entry = Entry.objects.get(wallet=wallet, sequence=2)
    assert (entry.kind, entry.amount_micros, entry.available_after_micros, entry.held_after_micros) == (
        "hold",
        400_000,
        600_000,
        400_000,
    )


def test_a_capture_takes_the_price_and_gives_the_rest_back(ann: Any) -> None:
    output_id = _hold(ann, 400_000)
    with write_transaction():
        operations.capture(output_id=output_id, amount_micros=300_000, now=NOW)
    wallet = _wallet(ann)
    assert (wallet.available_micros, wallet.held_micros) == (700_000, 0)
    kinds = list(Entry.objects.filter(wallet=wallet).order_by("sequence").values_list("kind", "amount_micros"))
    assert kinds == [("grant", 1_000_000), ("hold", 400_000), ("capture", 300_000), ("release", 100_000)]
    assert Lot.objects.get(wallet=wallet).remaining_micros == 700_000


def test_a_release_gives_all_back(ann: Any) -> None:
    output_id = _hold(ann, 400_000)
    with write_transaction():
        operations.release(output_id=output_id, now=NOW)
    assert _wallet(ann).available_micros == 1_000_000
    assert Hold.objects.get(output_id=output_id).state == "released"


@pytest.mark.parametrize("second", ["capture", "release"])
@pytest.mark.parametrize("first", ["capture", "release"])
def test_a_hold_is_settled_once(ann: Any, first: str, second: str) -> None:
    output_id = _hold(ann, 400_000)

    def settle(how: str) -> None:
        with write_transaction():
            if how == "capture":
                operations.capture(output_id=output_id, amount_micros=400_000, now=NOW)
            else:
                operations.release(output_id=output_id, now=NOW)

    settle(first)
    before = Entry.objects.count()
    with pytest.raises(operations.HoldNotOpen):
        settle(second)
    assert Entry.objects.count() == before


def test_more_than_there_is_cannot_be_held(ann: Any) -> None:
    with pytest.raises(operations.InsufficientFunds):
        _hold(ann, 1_000_001)
    assert Hold.objects.count() == 0
    assert _wallet(ann).head_sequence == 1


def test_many_holds_are_all_or_none(ann: Any) -> None:
    amounts = {uuid.uuid4(): 300_000 for _ in range(4)}
    with pytest.raises(operations.InsufficientFunds), write_transaction():
        operations.hold(account_id=ann.account.pk, mode="test", amounts=amounts, api_key=None, now=NOW)
    assert Hold.objects.count() == 0
    amounts.popitem()
    with write_transaction():
        operations.hold(account_id=ann.account.pk, mode="test", amounts=amounts, api_key=None, now=NOW)
    afters = list(
        Entry.objects.filter(kind="hold").order_by("sequence").values_list("available_after_micros", flat=True)
    )
    assert afters == [700_000, 400_000, 100_000]


def test_a_frozen_wallet_takes_no_hold_but_settles(ann: Any) -> None:
    output_id = _hold(ann, 400_000)
    Wallet.objects.filter(pk=_wallet(ann).pk).update(status="frozen")
    with pytest.raises(operations.InsufficientFunds):
        _hold(ann, 1)
    with write_transaction():
        operations.capture(output_id=output_id, amount_micros=1, now=NOW)
    assert _wallet(ann).available_micros == 999_999


def test_money_does_not_move_outside_a_transaction(ann: Any) -> None:
    with pytest.raises(AssertionError, match="only inside"):
        while connection.in_atomic_block:  # the test's own transaction is stepped out of
            connection.in_atomic_block = False
        try:
            operations.release(output_id=uuid.uuid4(), now=NOW)
        finally:
            connection.in_atomic_block = True


def test_promotional_money_goes_first_and_first_expiring_first(ann: Any) -> None:
    account = ann.account
    adjustments.adjust(account=account, mode="test", amount_micros=100_000, actor="t", reason="paid", now=NOW)
    adjustments.grant(
        account=account,
        mode="test",
        amount_micros=50_000,
        actor="t",
        reason="soon",
        now=NOW,
        expires_at=NOW + timedelta(days=1),
    )
    output_id = _hold(ann, 1_100_000)
    with write_transaction():
        operations.capture(output_id=output_id, amount_micros=1_100_000, now=NOW)
    used = list(LotUse.objects.order_by("pk").values_list("lot__entry__reason", "amount_micros"))
    assert used == [("soon", 50_000), ("a start", 1_000_000), ("paid", 50_000)]


def test_an_adjustment_happens_once_and_says_why(ann: Any) -> None:
    for _ in range(2):
        adjustments.grant(
            account=ann.account,
            mode="test",
            amount_micros=5,
            actor="op@example.com",
            reason="sorry",
            now=NOW,
            idempotency_key="case-7",
        )
    entry = Entry.objects.get(idempotency_key="case-7")
    assert (entry.actor, entry.reason, entry.kind) == ("op@example.com", "sorry", "grant")
    assert _wallet(ann).available_micros == 1_000_005
    adjustments.adjust(account=ann.account, mode="test", amount_micros=-5, actor="op", reason="back", now=NOW)
    assert _wallet(ann).available_micros == 1_000_000


@pytest.mark.parametrize(("amount", "reason"), [(0, "why"), (5, "  "), (-2_000_000, "too much")])
def test_an_adjustment_is_refused(ann: Any, amount: int, reason: str) -> None:
    with pytest.raises(AdjustmentRefused):
        adjustments.adjust(account=ann.account, mode="test", amount_micros=amount, actor="op", reason=reason, now=NOW)
    assert _wallet(ann).head_sequence == 1


def test_a_budget_is_a_hard_cap(ann: Any) -> None:
    api_key = ann.keys["test"].api_key
    api_key.budget_micros = 500_000
    api_key.save()
    first = _hold(ann, 300_000, with_key=True)
    with pytest.raises(BudgetExceeded):
        _hold(ann, 200_001, with_key=True)
    assert _wallet(ann).held_micros == 300_000
    with write_transaction():
        operations.capture(output_id=first, amount_micros=100_000, now=NOW)
    period = BudgetPeriod.objects.get(api_key=api_key)
    assert (period.reserved_micros, period.spent_micros) == (0, 100_000)
    _hold(ann, 400_000, with_key=True)
    change(api_key, budget_micros=10, now=NOW)
    assert BudgetPeriod.objects.get(api_key=api_key).limit_micros == 500_000


@pytest.mark.parametrize(
    ("period", "expected"),
    [
        ("none", datetime(1970, 1, 1, tzinfo=UTC)),
        ("daily", datetime(2026, 11, 20, tzinfo=UTC)),
        ("weekly", datetime(2026, 11, 16, tzinfo=UTC)),
        ("monthly", datetime(2026, 11, 1, tzinfo=UTC)),
    ],
)
def test_budgets_reset_at_midnight_utc(period: str, expected: datetime) -> None:
    assert period_start(period, NOW) == expected


@pytest.mark.django_db(transaction=True)
def test_threads_racing_for_the_last_cent(make_person: Any) -> None:
    """Funds for 5 of 40: exactly 5 are held, whoever comes first."""
    person = make_person("racer", test_micros=500_000)
    results: list[str] = []

    def attempt() -> None:
        try:
            _hold(person, 100_000)
            results.append("held")
        except operations.InsufficientFunds:
            results.append("refused")
        finally:
            connection.close()

    threads = [threading.Thread(target=attempt) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == ["held"] * 5 + ["refused"] * 35
    wallet = _wallet(person)
    assert (wallet.available_micros, wallet.held_micros, wallet.head_sequence) == (0, 500_000, 6)
    from accounts.ledger import audit

    assert list(audit.violations()) == []


def test_the_transaction_that_writes_does_not_nest(db: None) -> None:
    with write_transaction(), transaction.atomic():
        pass
