"""Tests of the tests: bugs that were known to be possible, planted on purpose, are found within a few seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from accounts.ledger import operations
from accounts.ledger.models import Entry, Hold
from accounts.transactions import write_transaction
from generation import settlement
from generation.execution import choosing, leases
from generation.models import Attempt, Output, State
from tests.simulator.machine import Odds
from tests.simulator.report import SimulationFailed
from tests.simulator.simulation import Simulation, simulation

# Days on which processes die often; what else happens is the seed's.
_ROUGH = Odds(park_at_transaction=0.5, kill_at_point=0.06)


def _first_caught(simulated: Simulation, *, within: int, by: str, odds: Odds = _ROUGH) -> SimulationFailed:
    """The first failure whose first finding has `by` in it."""
    for seed in range(within):
        try:
            simulated.run(seed, odds)
        except SimulationFailed as found:
            if by in found.problems[0]:
                print(f"caught at seed {seed}: {found.problems[0]}")
                return found
    raise AssertionError(f"{within} seeds did not see it")


def _commit_at_once() -> None:
    """What is written so far stays, whatever becomes of the transaction it belongs to."""
    if connection.vendor == "sqlite":
        connection.connection.execute("COMMIT")
        connection.connection.execute("BEGIN IMMEDIATE")
    else:
        connection.connection.commit()


@pytest.mark.timeout(300)
def test_a_charge_outside_its_transaction_is_caught(simulated: Simulation, monkeypatch: pytest.MonkeyPatch) -> None:
    real = operations.settle

    def settle_and_commit(captured: Mapping[Any, int], *, now: datetime) -> dict[Any, Entry]:
        entries = real(captured, now=now)
        _commit_at_once()
        return entries

    monkeypatch.setattr(operations, "settle", settle_and_commit)
    odds = replace(_ROUGH, deadly_point="settle.settling")
    _first_caught(simulated, within=40, by="an output and its hold disagree", odds=odds)


@pytest.mark.timeout(300)
def test_a_missing_fence_is_caught(simulated: Simulation, monkeypatch: pytest.MonkeyPatch) -> None:
    def send_unfenced(sendings: Sequence[tuple[leases.Lease, Attempt]]) -> list[bool]:
        """Whoever once had a lease may call: nobody looks whether it still holds."""
        with write_transaction():
            ids = [lease.output_id for lease, _ in sendings]
            Output.objects.filter(pk__in=ids, state__in=settlement.BEFORE_RECEIVED).update(state=State.SENT)
            Attempt.objects.bulk_create(attempt for _, attempt in sendings)
        return [True] * len(sendings)

    monkeypatch.setattr(leases._FENCE, "_work", send_unfenced)
    # The fence stands alone only where images are fetched first: here, all calls take that way.
    monkeypatch.setattr(choosing, "needs_files", lambda _: True)
    _first_caught(simulated, within=60, by="went out")


def _release_again(output_id: Any) -> None:
    """Gives a hold back without looking whether it was captured."""
    now = datetime.now(UTC)
    with write_transaction():
        row = Hold.objects.get(output_id=output_id)
        Hold.objects.filter(pk=row.pk).update(
            state="released", captured_micros=0, released_micros=row.authorized_micros, settled_at=now
        )
        posting = operations.Posting("release", row.authorized_micros, f"again:{output_id}", hold=row)
        operations.post(row.wallet_id, [posting], now=now)


def _plant_release(monkeypatch: pytest.MonkeyPatch) -> None:
    real = settlement.cancel

    def cancel_and_release(generation: Any, *, now: datetime) -> None:
        real(generation, now=now)
        for output in Output.objects.filter(generation=generation, state=State.SUCCEEDED):
            _release_again(output.pk)

    monkeypatch.setattr(settlement, "cancel", cancel_and_release)


@pytest.mark.timeout(300)
def test_the_database_refuses_the_release_of_a_captured_hold(
    simulated: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    _plant_release(monkeypatch)
    _first_caught(simulated, within=60, by="a settled hold is final")


@pytest.mark.timeout(300)
def test_the_release_of_a_captured_hold_is_caught_without_the_guard_too(
    transactional_db: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _plant_release(monkeypatch)
    with simulation(tmp_path, without="ledger_hold_final") as unguarded:
        _first_caught(unguarded, within=60, by="I5")
