"""The audit of the road sees what it is there to see: each planted fault is named."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.db import connection

from accounts.ledger.models import Hold
from accounts.ledger.triggers import GUARDS as LEDGER_GUARDS
from generation import audit, submission
from generation.contract import GenerationRequest
from generation.models import Attempt, Charge, Generation, Media, Output
from generation.triggers import GUARDS

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def delivered(alice: Any, queue: Any) -> Output:
    accepted = submission.accept(
        alice.requester(), GenerationRequest(prompt="x", image_size="1K"), now=datetime.now(UTC)
    )
    queue.run()
    assert list(audit.violations()) == []
    GUARDS.drop(connection)
    LEDGER_GUARDS.drop(connection)
    return Output.objects.get(generation_id=accepted.generation_id)


def _spoil_file(output: Output) -> None:
    name = Media.objects.get(output=output).storage_name
    with default_storage.open(name, "r+b") as file:
        file.write(b"spoiled")


FAULTS: dict[str, tuple[Callable[[Output], Any], str]] = {
    "a charge is lost": (lambda o: Charge.objects.all()._raw_delete("default"), "without what belongs"),
    "a hold is open for an ended output": (
        lambda o: Hold.objects.filter(output_id=o.pk).update(state="open", captured_micros=0, settled_at=None),
        "but its hold is open",
    ),
    "a hold has no output": (
        lambda o: Hold.objects.filter(output_id=o.pk).update(output_id="00000000-0000-7000-8000-000000000000"),
        "does not exist",
    ),
    "a charge differs from the output": (lambda o: Charge.objects.update(price_micros=1), "differs from its output"),
    "a charge differs from its entry": (
        lambda o: (Charge.objects.update(price_micros=1), Output.objects.update(price_micros=1)),
        "differs from its ledger entry",
    ),
    "a generation miscounts": (
        lambda o: Generation.objects.update(succeeded_count=2),
        "does not agree with its outputs",
    ),
    "an attempt is still out": (
        lambda o: Attempt.objects.update(status="sent", started_at=datetime(2026, 1, 1, tzinfo=UTC)),
        "is still out",
    ),
    "an image is gone": (lambda o: default_storage.delete(Media.objects.get().storage_name), "is gone"),
    "an image has changed": (_spoil_file, "has changed"),
    "nothing was delivered": (lambda o: Attempt.objects.update(is_delivered=False), "has 0 delivered attempts"),
}


@pytest.mark.parametrize(("fault", "words"), FAULTS.values(), ids=FAULTS)
def test_a_planted_fault_is_named(delivered: Output, fault: Callable[[Output], Any], words: str) -> None:
    fault(delivered)
    assert any(words in each.detail for each in audit.violations()), list(audit.violations())


def test_missing_triggers_are_named(delivered: Output) -> None:
    missing = {each.detail for each in audit.violations() if each.detail.startswith("trigger")}
    assert len(missing) == len(GUARDS.guards) + len(LEDGER_GUARDS.guards)
