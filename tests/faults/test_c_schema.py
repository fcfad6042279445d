"""Fault catalogue C: code and schema of different releases over one database, and triggers that are not there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.db import DatabaseError, connection, models, transaction
from django.db.migrations import AddField, CreateModel, RemoveField, RenameField
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations.base import Operation
from django.db.models import NOT_PROVIDED

from accounts.ledger.models import Entry, Hold, Wallet
from accounts.ledger.triggers import GUARDS as LEDGER_GUARDS
from generation import audit, submission
from generation.contract import GenerationRequest
from generation.models import Charge, Output
from generation.triggers import GUARDS

OWN_APPS = ("accounts", "ledger", "channels", "generation", "nbp_site")
TRIGGERS = [(guards, guard) for guards in (LEDGER_GUARDS, GUARDS) for guard in guards.guards]


def strangers_to_old_code(operations: Sequence[Operation]) -> Iterator[str]:
    """Operations after which a process of the release before can write no more: it does not know the new columns."""
    made = {each.name_lower for each in operations if isinstance(each, CreateModel)}
    for each in operations:
        if isinstance(each, RenameField):
            yield f"{each.model_name}.{each.old_name} is renamed under running code"
        if not isinstance(each, AddField) or each.model_name_lower in made:
            continue
        field = each.field
        if not field.null and field.db_default is NOT_PROVIDED and not field.many_to_many:
            yield f"{each.model_name}.{each.name} has neither NULL nor a default of the database's"


def test_c7_every_migration_leaves_room_for_the_release_before() -> None:
    loader = MigrationLoader(None, ignore_no_migrations=True)
    found = {
        f"{app}.{name}": list(strangers_to_old_code(migration.operations))
        for (app, name), migration in loader.disk_migrations.items()
        if app in OWN_APPS
    }
    assert found
    assert {name: each for name, each in found.items() if each} == {}


@pytest.mark.parametrize(
    ("operation", "is_harmful"),
    [
        (AddField("output", "new", models.IntegerField(default=0)), True),
        (AddField("output", "new", models.IntegerField(db_default=0)), False),
        (AddField("output", "new", models.IntegerField(null=True)), False),
        (RenameField("output", "state", "status"), True),
        (RemoveField("output", "stranded_count"), False),
    ],
    ids=["a default of Python's", "a default of the database's", "NULL", "a rename", "a removal"],
)
def test_c7_the_rule_sees_what_old_code_cannot_write(operation: Operation, is_harmful: bool) -> None:
    assert bool(list(strangers_to_old_code([operation]))) is is_harmful


@pytest.fixture
def delivered(alice: Any, queue: Any) -> Output:
    accepted = submission.accept(
        alice.requester(), GenerationRequest(prompt="x", image_size="1K"), now=datetime.now(UTC)
    )
    queue.run()
    return Output.objects.get(generation_id=accepted.generation_id)


def _columns(model: type[models.Model], values: dict[str, Any]) -> None:
    """An insert as other code would write it: plain SQL, the columns it knows."""
    names = ", ".join(f'"{name}"' for name in values)
    marks = ", ".join(["%s"] * len(values))
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f'INSERT INTO "{model._meta.db_table}" ({names}) VALUES ({marks})', list(values.values()))


def _update(statement: str, *values: Any) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement, values)


def _stale_wallet(output: Output) -> None:
    """Code that read the balance before others moved it, and writes back what it knows."""
    Wallet.objects.filter(account=output.account, mode="test").update(available_micros=100_000_000)


def _stale_save(output: Output) -> None:
    wallet = Wallet.objects.get(account=output.account, mode="test")
    wallet.available_micros, wallet.head_sequence = 100_000_000, wallet.head_sequence - 1
    wallet.save()


def _entry_from_the_past(output: Output) -> None:
    last = Entry.objects.filter(wallet__account=output.account, wallet__mode="test").order_by("-sequence")[0]
    known = {field.column: getattr(last, field.attname) for field in Entry._meta.fields if not field.primary_key}
    _columns(Entry, known | {"sequence": last.sequence + 1, "idempotency_key": "again", "hold_id": None})


def _second_hold(output: Output) -> None:
    hold = Hold.objects.get(output_id=output.pk)
    known = {field.column: getattr(hold, field.attname) for field in Hold._meta.fields if not field.primary_key}
    _columns(Hold, known | {"state": "open", "captured_micros": 0, "released_micros": 0, "settled_at": None})


def _second_charge(output: Output) -> None:
    charge = Charge.objects.get(output=output)
    known = {field.column: getattr(charge, field.attname) for field in Charge._meta.fields if not field.primary_key}
    _columns(Charge, known)


STALE_WRITERS = {
    "a balance without an entry": _stale_wallet,
    "a wallet as it was before": _stale_save,
    "an entry that does not continue the last": _entry_from_the_past,
    "a second hold of an output": _second_hold,
    "a second charge of an output": _second_charge,
    "a finished output queued again": lambda output: Output.objects.filter(pk=output.pk).update(
        state="queued", price_micros=None
    ),
    "a settled hold opened again": lambda output: Hold.objects.filter(output_id=output.pk).update(
        state="open", captured_micros=0, released_micros=0, settled_at=None
    ),
    "a state nobody knows": lambda output: Output.objects.filter(pk=output.pk).update(state="paused"),
}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("write", STALE_WRITERS.values(), ids=STALE_WRITERS)
def test_c7_the_database_refuses_what_code_of_another_release_must_not_write(
    delivered: Output, write: Any, audited: None
) -> None:
    entries = Entry.objects.count()
    with pytest.raises(DatabaseError), transaction.atomic():
        write(delivered)
    assert (Entry.objects.count(), Charge.objects.count()) == (entries, 1)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("guards", "guard"), TRIGGERS, ids=[guard.name for _, guard in TRIGGERS])
def test_c8_a_missing_trigger_fails_the_check_at_the_start_and_the_audit(guards: Any, guard: Any) -> None:
    call_command("check", databases=["default"])
    with connection.cursor() as cursor:
        cursor.execute(guard.drop(connection.vendor))
    try:
        with pytest.raises(SystemCheckError, match=guard.name):
            call_command("check", databases=["default"])
        assert f"trigger {guard.name} is missing" in [each.detail for each in audit.violations()]
    finally:
        guards.create(connection)
    call_command("check", databases=["default"])
