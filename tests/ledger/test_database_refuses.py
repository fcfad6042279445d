"""What the database itself refuses, whatever Python says: the same on SQLite and PostgreSQL."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction

from accounts.ledger import audit, operations
from accounts.ledger.models import Entry, Hold, Lot, LotUse, Wallet
from accounts.ledger.triggers import GUARDS
from accounts.transactions import write_transaction

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture
def wallet(make_person: Any) -> Wallet:
    """A wallet with one dollar, one open hold of 10 cents and one captured hold of 20 cents."""
    person = make_person("dora", test_micros=1_000_000)
    first, second = uuid.uuid4(), uuid.uuid4()
    with write_transaction():
        operations.hold(
            account_id=person.account.pk, mode="test", amounts={first: 100_000, second: 200_000}, api_key=None, now=NOW
        )
        operations.capture(output_id=second, amount_micros=200_000, now=NOW)
    return Wallet.objects.get(account=person.account, mode="test")


def _entry(wallet: Wallet, **fields: Any) -> Entry:
    values: dict[str, Any] = {
        "wallet": wallet,
        "sequence": wallet.head_sequence + 1,
        "kind": "grant",
        "source": "promotion",
        "destination": "available",
        "amount_micros": 5,
        "available_after_micros": wallet.available_micros + 5,
        "held_after_micros": wallet.held_micros,
        "debt_after_micros": 0,
        "idempotency_key": str(uuid.uuid4()),
        "created_at": NOW,
    }
    return Entry(**values | fields)


def _open(wallet: Wallet) -> Hold:
    return Hold.objects.get(wallet=wallet, state="open")


def _captured(wallet: Wallet) -> Hold:
    return Hold.objects.get(wallet=wallet, state="captured")


def _set(rows: Any, **fields: Any) -> None:
    rows.update(**fields)


ATTACKS: dict[str, Callable[[Wallet], Any]] = {
    "an entry is changed": lambda w: _set(Entry.objects.filter(wallet=w), amount_micros=1),
    "an entry is deleted": lambda w: Entry.objects.filter(wallet=w, kind="capture").delete(),
    "an entry is written without its wallet": lambda w: _entry(w).save(),
    "an entry repeats a sequence": lambda w: _entry(w, sequence=w.head_sequence).save(),
    "an entry of an illegal posting": lambda w: _entry(w, destination="revenue").save(),
    "an entry of nothing": lambda w: _entry(w, amount_micros=0).save(),
    "an entry does not add up": lambda w: _entry(w, sequence=2, available_after_micros=7).save(),
    "a balance is changed without an entry": lambda w: _set(Wallet.objects.filter(pk=w.pk), available_micros=10**9),
    "a wallet is saved stale": lambda w: _stale_save(w),
    "a balance goes below zero": lambda w: _set(
        Wallet.objects.filter(pk=w.pk), available_micros=-1, head_sequence=w.head_sequence + 1
    ),
    "a wallet changes hands": lambda w: _set(Wallet.objects.filter(pk=w.pk), mode="live"),
    "a wallet is deleted": lambda w: Wallet.objects.filter(pk=w.pk)._raw_delete("default"),
    "a settled hold is opened again": lambda w: _set(
        Hold.objects.filter(pk=_captured(w).pk), state="open", captured_micros=0, released_micros=0, settled_at=None
    ),
    "a hold changes its amount": lambda w: _set(Hold.objects.filter(pk=_open(w).pk), authorized_micros=1),
    "more is captured than held": lambda w: _set(
        Hold.objects.filter(pk=_open(w).pk), state="captured", captured_micros=200_000, settled_at=NOW
    ),
    "a hold is captured in part and not released": lambda w: _set(
        Hold.objects.filter(pk=_open(w).pk), state="captured", captured_micros=50_000, settled_at=NOW
    ),
    "a hold is deleted": lambda w: Hold.objects.filter(pk=_open(w).pk)._raw_delete("default"),
    "a second hold for an output": lambda w: Hold.objects.create(
        wallet=w, output_id=_open(w).output_id, authorized_micros=1, created_at=NOW
    ),
    "a hold of nothing": lambda w: Hold.objects.create(
        wallet=w, output_id=uuid.uuid4(), authorized_micros=0, created_at=NOW
    ),
    "a lot is used beyond what it had": lambda w: _set(Lot.objects.filter(wallet=w), remaining_micros=-1),
    "a lot grows": lambda w: _set(Lot.objects.filter(wallet=w), granted_micros=10**9, remaining_micros=10**9),
    "a lot is deleted": lambda w: Lot.objects.filter(wallet=w)._raw_delete("default"),
    "the use of a lot is changed": lambda w: _set(LotUse.objects.filter(lot__wallet=w), amount_micros=1),
    "the use of a lot is deleted": lambda w: LotUse.objects.filter(lot__wallet=w).delete(),
    "a second wallet of the mode": lambda w: Wallet.objects.create(account=w.account, mode="test"),
    "another currency": lambda w: _set(Wallet.objects.filter(pk=w.pk), currency="eur"),
}


def _stale_save(wallet: Wallet) -> None:
    """Somebody read the wallet, somebody else moved money, and the first one saves what he read."""
    stale = Wallet.objects.get(pk=wallet.pk)
    operations.post(wallet.pk, [operations.Posting("adjust_down", 10, str(uuid.uuid4()))], now=NOW)
    stale.save()


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_the_database_refuses(wallet: Wallet, attack: str) -> None:
    with pytest.raises(DatabaseError), transaction.atomic():
        ATTACKS[attack](wallet)
    assert list(audit.violations()) == []


def test_without_the_triggers_the_attacks_get_through_and_the_audit_sees_them(wallet: Wallet) -> None:
    """The triggers are what refuses, and the audit is what remains when they are gone."""
    GUARDS.drop(connection)
    Wallet.objects.filter(pk=wallet.pk).update(available_micros=10**9)
    Hold.objects.create(wallet=wallet, output_id=uuid.uuid4(), authorized_micros=5, created_at=NOW)
    Lot.objects.filter(wallet=wallet).update(remaining_micros=3)
    found = list(audit.violations())
    assert {"I1", "I2", "I5", "I6", "I7", "I8"} <= {each.invariant[:2] for each in found}
    missing = [each for each in found if each.detail.startswith("trigger")]
    assert len(missing) == len(GUARDS.guards)


def test_the_system_check_names_missing_triggers(db: None) -> None:
    from generation.checks import triggers_exist

    assert triggers_exist(None, ["default"]) == []
    GUARDS.drop(connection)
    assert len(triggers_exist(None, ["default"])) == len(GUARDS.guards)
