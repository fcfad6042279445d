"""The ledger against a model in plain Python: whatever is done in whatever order, rows and model say the same."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from accounts import keys
from accounts.ledger import adjustments, audit, budgets, expiry, limits, lots, operations
from accounts.ledger.models import BudgetPeriod, Entry, Hold, Lot, Wallet
from accounts.models import Account, ApiKey
from accounts.transactions import write_transaction
from tests.simulator import database

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
WALLETS = (("ann", "live"), ("ann", "test"), ("ben", "test"))
AMOUNTS = st.integers(1, 200_000) | st.integers(1, 1_000_000)
REFUSALS = (operations.InsufficientFunds, budgets.BudgetExceeded, limits.SpendingLimitExceeded)
WHOSE = st.sampled_from(range(len(WALLETS)))
RARELY = st.sampled_from((False, False, False, False, True))


class Crash(Exception):
    """The process dies before its commit."""


@dataclass
class ModelLot:
    """What is left of money that came in together."""

    remaining: int
    order: tuple[int, datetime, int]


@dataclass
class ModelWallet:
    """What a wallet should be."""

    available: int = 0
    held: int = 0
    is_frozen: bool = False
    lots: list[ModelLot] = field(default_factory=list)
    limit: int | None = None
    reserved: int = 0
    spent: int = 0
    has_period: bool = False
    month_limit: int | None = None
    month_used: int = 0

    def credit(self, amount: int, priority: int, expires_at: datetime | None, number: int) -> None:
        self.available += amount
        self.lots.append(ModelLot(amount, (priority, expires_at or datetime.max.replace(tzinfo=UTC), number)))

    def use(self, amount: int) -> None:
        """Money that leaves takes from the lots: promotional first, first-expiring first."""
        for lot in sorted(self.lots, key=lambda each: each.order):
            part = min(amount, lot.remaining)
            lot.remaining -= part
            amount -= part
        assert not amount

    def refusal(self, amount: int) -> type[Exception] | None:
        if self.is_frozen:
            return operations.WalletNotActive
        if amount > self.available:
            return operations.InsufficientFunds
        if self.month_limit is not None and self.month_used + amount > self.month_limit:
            return limits.SpendingLimitExceeded
        if self.limit is not None and self.reserved + self.spent + amount > self.limit:
            return budgets.BudgetExceeded
        return None


@dataclass
class ModelHold:
    """Money set aside, and what became of it."""

    wallet: int
    authorized: int
    captured: int = 0
    state: str = "open"


def furnish() -> None:
    """Accounts with empty wallets, and a key for each wallet."""
    for name, mode in WALLETS:
        account, _ = Account.objects.get_or_create(name=name)
        operations.open_wallets(account)
        if not ApiKey.objects.filter(account=account, mode=mode).exists():
            keys.issue(account=account, mode=mode, name="key")
    ApiKey.objects.update(budget_micros=None)


class LedgerMachine(RuleBasedStateMachine):
    """Every verb of the ledger, alone and together, with crashes, repetitions and what must be refused."""

    holds: Bundle[uuid.UUID] = Bundle("holds")
    ended: Bundle[uuid.UUID] = Bundle("ended")
    keyed: Bundle[tuple[int, int, str]] = Bundle("keyed")
    reset: Callable[[], None]

    def __init__(self) -> None:
        super().__init__()
        type(self).reset()
        self.model = [ModelWallet() for _ in WALLETS]
        self.model_holds: dict[uuid.UUID, ModelHold] = {}
        self.accounts = [Account.objects.get(name=name) for name, _ in WALLETS]
        self.keys = [ApiKey.objects.get(account__name=name, mode=mode) for name, mode in WALLETS]
        self.count = 0

    def wallet(self, whose: int) -> Wallet:
        return Wallet.objects.get(account=self.accounts[whose], mode=WALLETS[whose][1])

    def number(self) -> int:
        self.count += 1
        return self.count

    @initialize()
    def begin(self) -> None:
        """Paid money first and promotional money after it, in every wallet; one key has a budget."""
        for whose in range(len(WALLETS)):
            self.adjust_up(whose=whose, amount=500_000)
            self.grant(whose=whose, amount=400_000, days=None)
        self.limit(whose=1, limit=600_000)

    # --- money in and out --------------------------------------------------------------------------------------------

    def _grant(self, whose: int, amount: int, key: str, expires_at: datetime | None) -> None:
        adjustments.grant(
            account=self.accounts[whose],
            mode=WALLETS[whose][1],
            amount_micros=amount,
            actor="operator",
            reason="model",
            now=NOW,
            idempotency_key=key,
            expires_at=expires_at,
        )

    @rule(target=keyed, whose=WHOSE, amount=AMOUNTS, days=st.sampled_from((None, 1, 30)))
    def grant(self, whose: int, amount: int, days: int | None) -> tuple[int, int, str]:
        number = self.number()
        expires_at = None if days is None else NOW + timedelta(days=days)
        self._grant(whose, amount, f"grant {number}", expires_at)
        self.model[whose].credit(amount, 10, expires_at, number)
        return whose, amount, f"grant {number}"

    @rule(known=keyed, amount=AMOUNTS)
    def grant_again(self, known: tuple[int, int, str], amount: int) -> None:
        """The same key is the same movement, whatever else is said."""
        before = Entry.objects.count()
        self._grant(known[0], known[1], known[2], None)
        assert Entry.objects.count() == before

    def _adjust(self, whose: int, amount: int) -> None:
        adjustments.adjust(
            account=self.accounts[whose],
            mode=WALLETS[whose][1],
            amount_micros=amount,
            actor="operator",
            reason="model",
            now=NOW,
        )

    @rule(whose=WHOSE, amount=AMOUNTS)
    def adjust_up(self, whose: int, amount: int) -> None:
        self._adjust(whose, amount)
        self.model[whose].credit(amount, 100, None, self.number())

    @rule(whose=WHOSE, amount=AMOUNTS)
    def adjust_down(self, whose: int, amount: int) -> None:
        """Money on hold stays out of reach."""
        model = self.model[whose]
        if amount > model.available:
            with pytest.raises(adjustments.AdjustmentRefused):
                self._adjust(whose, -amount)
            return
        self._adjust(whose, -amount)
        model.available -= amount
        model.use(amount)

    # --- holds -------------------------------------------------------------------------------------------------------

    @rule(target=holds, whose=WHOSE, amounts=st.lists(AMOUNTS, min_size=1, max_size=4), crashes=RARELY)
    def hold(self, whose: int, amounts: list[int], crashes: bool) -> Any:
        """Holds of one request: all or none."""
        asked = {uuid.uuid4(): amount for amount in amounts}
        refusal = self.model[whose].refusal(sum(amounts))
        with suppress(Crash, *REFUSALS), write_transaction():
            try:
                operations.hold(
                    account_id=self.accounts[whose].pk,
                    mode=WALLETS[whose][1],
                    amounts=asked,
                    api_key=self.keys[whose],
                    now=NOW,
                )
            except Exception as error:
                assert refusal is type(error)
                raise
            assert refusal is None
            if crashes:
                raise Crash
        if refusal or crashes:
            return multiple()
        return multiple(*self._held(whose, asked))

    def _held(self, whose: int, asked: Mapping[uuid.UUID, int]) -> list[uuid.UUID]:
        model, total = self.model[whose], sum(asked.values())
        model.available -= total
        model.held += total
        model.month_used += total
        if model.limit is not None:
            model.reserved += total
            model.has_period = True
        self.model_holds |= {output_id: ModelHold(whose, amount) for output_id, amount in asked.items()}
        return list(asked)

    @rule(
        target=holds,
        requests=st.lists(st.tuples(WHOSE, st.lists(AMOUNTS, min_size=1, max_size=3)), min_size=2, max_size=4),
        crashes=RARELY,
    )
    def hold_together(self, requests: list[tuple[int, list[int]]], crashes: bool) -> Any:
        """Holds of several requests in one transaction: each is covered or refused in turn."""
        before = [(each.available, each.reserved, each.month_used) for each in self.model]
        periods = {whose for whose, model in enumerate(self.model) if model.has_period}
        kept: list[tuple[int, dict[uuid.UUID, int]]] = []
        with suppress(Crash), write_transaction():
            batch = operations.HoldBatch([(self.accounts[whose].pk, WALLETS[whose][1]) for whose, _ in requests])
            for whose, amounts in requests:
                asked = {uuid.uuid4(): amount for amount in amounts}
                refusal = self._add(batch, whose, asked)
                if refusal is None:
                    kept.append((whose, asked))
                if refusal in (None, budgets.BudgetExceeded) and self.model[whose].limit is not None:
                    # A budget that refuses has looked at its period.
                    periods.add(whose)
            batch.write(now=NOW)
            if crashes:
                raise Crash
        for model, (available, reserved, used) in zip(self.model, before, strict=True):
            model.available, model.reserved, model.month_used = available, reserved, used
        if crashes:
            return multiple()
        for whose in periods:
            self.model[whose].has_period = True
        return multiple(*(output_id for whose, asked in kept for output_id in self._held(whose, asked)))

    def _add(self, batch: operations.HoldBatch, whose: int, asked: dict[uuid.UUID, int]) -> type[Exception] | None:
        model, total = self.model[whose], sum(asked.values())
        refusal = model.refusal(total)
        try:
            batch.add(
                account_id=self.accounts[whose].pk,
                mode=WALLETS[whose][1],
                amounts=asked,
                api_key=self.keys[whose],
                now=NOW,
            )
        except REFUSALS as error:
            assert refusal is type(error)
            return refusal
        assert refusal is None
        # What the next one finds; the caller puts the model back and does it properly.
        model.available -= total
        model.reserved += total if model.limit is not None else 0
        model.month_used += total
        return None

    @rule(
        target=ended,
        asked=st.lists(consumes(holds), min_size=1, max_size=3),
        shares=st.lists(st.sampled_from((0, 1, 500, 1000)), min_size=3, max_size=3),
    )
    def settle(self, asked: list[uuid.UUID], shares: list[int]) -> Any:
        """Ends of several holds at once: nothing, next to nothing, half or all of each is taken."""
        captured = self._captured(asked, shares)
        with write_transaction():
            entries = operations.settle(captured, now=NOW)
        for output_id, amount in captured.items():
            assert (entries[output_id].kind == "capture") is bool(amount)
            self._settled(output_id, amount)
        return multiple(*captured)

    def _captured(self, asked: list[uuid.UUID], shares: list[int]) -> dict[uuid.UUID, int]:
        return {
            output_id: 1 if share == 1 else self.model_holds[output_id].authorized * share // 1000
            for output_id, share in zip(asked, shares, strict=False)
        }

    def _settled(self, output_id: uuid.UUID, amount: int) -> None:
        hold = self.model_holds[output_id]
        model = self.model[hold.wallet]
        model.held -= hold.authorized
        model.available += hold.authorized - amount
        model.month_used -= hold.authorized - amount
        model.use(amount)
        period = BudgetPeriod.objects.filter(holds__output_id=output_id).exists()
        model.reserved -= hold.authorized if period else 0
        model.spent += amount if period else 0
        hold.captured, hold.state = amount, "captured" if amount else "released"

    @rule(output_id=holds, shares=st.lists(st.sampled_from((0, 1000)), min_size=1, max_size=1))
    def settle_and_crash(self, output_id: uuid.UUID, shares: list[int]) -> None:
        """As if it had never been."""
        captured = self._captured([output_id], shares)
        with pytest.raises(Crash), write_transaction():
            operations.settle(captured, now=NOW)
            raise Crash

    @rule(output_id=ended, how=st.sampled_from(("capture", "release")))
    def settle_again(self, output_id: uuid.UUID, how: str) -> None:
        """A replay, a double capture, the release of what was captured: whoever came first has won."""
        before = Entry.objects.count()
        with pytest.raises(operations.HoldNotOpen), write_transaction():
            if how == "capture":
                operations.capture(output_id=output_id, amount_micros=1, now=NOW)
            else:
                operations.release(output_id=output_id, now=NOW)
        assert Entry.objects.count() == before

    @rule(first=holds, second=ended)
    def settle_with_one_that_has_ended(self, first: uuid.UUID, second: uuid.UUID) -> None:
        """One that has ended keeps the others in its transaction from ending; nothing is written."""
        with pytest.raises(operations.HoldNotOpen), write_transaction():
            operations.settle({first: 1, second: 1}, now=NOW)

    @rule(output_id=ended)
    def release_behind_the_ledgers_back(self, output_id: uuid.UUID) -> None:
        """The database refuses it, whoever asks."""
        other = {"captured": "released", "released": "captured"}[self.model_holds[output_id].state]
        authorized = self.model_holds[output_id].authorized
        fields = {"captured_micros": authorized, "released_micros": 0}
        if other == "released":
            fields = {"captured_micros": 0, "released_micros": authorized}
        with pytest.raises(IntegrityError, match="a settled hold is final"), write_transaction():
            Hold.objects.filter(output_id=output_id).update(state=other, **fields)

    @rule(output_id=holds)
    def capture_too_much(self, output_id: uuid.UUID) -> None:
        """I12: never above what was quoted."""
        too_much = self.model_holds[output_id].authorized + 1
        with pytest.raises((IntegrityError, operations.InsufficientFunds)), write_transaction():
            operations.capture(output_id=output_id, amount_micros=too_much, now=NOW)

    # --- limits ------------------------------------------------------------------------------------------------------

    @rule(whose=WHOSE, freezes=st.booleans())
    def freeze(self, whose: int, freezes: bool) -> None:
        Wallet.objects.filter(pk=self.wallet(whose).pk).update(status="frozen" if freezes else "active")
        self.model[whose].is_frozen = freezes

    @rule(whose=WHOSE, limit=st.integers(0, 3_000_000))
    def limit(self, whose: int, limit: int) -> None:
        """A key gets a budget, or another one; the running period never falls below what is reserved and spent."""
        model = self.model[whose]
        budgets.change(self.keys[whose], budget_micros=limit, now=NOW)
        self.keys[whose].refresh_from_db()
        model.limit = max(limit, model.reserved + model.spent) if model.has_period else limit

    @rule(whose=WHOSE, limit=st.one_of(st.none(), st.integers(0, 3_000_000)))
    def spending_limit(self, whose: int, limit: int | None) -> None:
        """An account gets a monthly limit, another or none: the whole month counts, whenever it is set."""
        adjustments.set_spending_limit(
            account=self.accounts[whose], mode=WALLETS[whose][1], limit_micros=limit, now=NOW
        )
        self.model[whose].month_limit = limit

    @rule(days=st.sampled_from((0, 2, 31)))
    def expire(self, days: int) -> None:
        """What is over leaves the wallet; what is on hold stays usable."""
        then = NOW + timedelta(days=days)
        expiry.expire_due(now=then)
        for model in self.model:
            for lot in sorted(model.lots, key=lambda each: (each.order[1], each.order[2])):
                before = sum(each.remaining for each in model.lots if each.order < lot.order)
                held = min(lot.remaining, max(0, model.held - before))
                part = min(lot.remaining - held, model.available) if lot.order[1] <= then else 0
                lot.remaining -= part
                model.available -= part

    # --- what must always be so --------------------------------------------------------------------------------------

    @invariant()
    def rows_and_model_say_the_same(self) -> None:
        for whose, model in enumerate(self.model):
            row = self.wallet(whose)
            assert (row.available_micros, row.held_micros, row.debt_micros) == (model.available, model.held, 0)
            lots = Lot.objects.filter(wallet=row).order_by("id").values_list("remaining_micros", flat=True)
            assert list(lots) == [lot.remaining for lot in model.lots]
            period = BudgetPeriod.objects.filter(api_key=self.keys[whose]).first()
            assert (period is not None) is model.has_period
            if period is not None:
                assert (period.reserved_micros, period.spent_micros) == (model.reserved, model.spent)
        rows = Hold.objects.values_list("output_id", "state", "authorized_micros", "captured_micros")
        assert {row[0]: row[1:] for row in rows} == {
            output_id: (hold.state, hold.authorized, hold.captured) for output_id, hold in self.model_holds.items()
        }

    @invariant()
    def the_cheap_invariants_hold(self) -> None:
        """I1 to I8."""
        for invariant_name, check in audit.CHECKS.items():
            if check is not audit.triggers_exist:
                assert list(check()) == [], invariant_name

    def teardown(self) -> None:
        assert list(audit.violations()) == []


def _settings(examples: int, **more: Any) -> settings:
    """The same examples each time in the suite; many new ones in a soak."""
    soaks = bool(os.environ.get("SIMULATOR_SEEDS"))
    return settings(
        max_examples=(1000 if soaks else examples) // (1 if connection.vendor == "sqlite" else 4),
        stateful_step_count=40,
        derandomize=not soaks,
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
        **more,
    )


def _run(*, examples: int = 28, **more: Any) -> None:
    with database.in_memory():
        furnish()
        with database.snapshot(furnish) as reset:
            machine = type("Machine", (LedgerMachine,), {"reset": staticmethod(reset)})
            run_state_machine_as_test(machine, settings=_settings(examples, **more))


@pytest.mark.timeout(3600)
@pytest.mark.usefixtures("transactional_db")
def test_the_ledger_does_what_its_model_says() -> None:
    _run()


def _settle_blindly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Release what was captured: nobody looks at the hold's state."""
    real = operations.settle

    def settle(captured: Mapping[uuid.UUID, int], *, now: datetime) -> dict[uuid.UUID, Entry]:
        rows = {row.output_id: row for row in Hold.objects.filter(output_id__in=captured).exclude(state="open")}
        for row in rows.values():
            Hold.objects.filter(pk=row.pk).update(
                state="released", captured_micros=0, released_micros=row.authorized_micros
            )
            operations.post(
                row.wallet_id,
                [operations.Posting("release", row.authorized_micros, f"again:{row.output_id}", hold=row)],
                now=now,
            )
        return real({key: amount for key, amount in captured.items() if key not in rows}, now=now)

    monkeypatch.setattr(operations, "settle", settle)


def _forget_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was spent is free again."""
    real = budgets.settle

    def settle(ended: Mapping[int | None, tuple[int, int]]) -> None:
        real({period: (reserved, 0) for period, (reserved, _) in ended.items()})

    monkeypatch.setattr(budgets, "settle", settle)


def _spend_paid_money_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lots add up, in the wrong order."""
    real = lots.make

    def make(entry: Entry, *, kind: str, expires_at: datetime | None = None) -> Lot:
        return real(entry, kind=Lot.Kind.PAID, expires_at=expires_at)

    monkeypatch.setattr(lots, "make", make)


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("transactional_db")
@pytest.mark.parametrize(
    ("plant", "found"),
    [
        (_settle_blindly, "a settled hold is final"),
        (_forget_the_budget, None),
        (_spend_paid_money_first, None),
    ],
)
def test_the_model_finds_planted_bugs(
    monkeypatch: pytest.MonkeyPatch, plant: Callable[[pytest.MonkeyPatch], None], found: str | None
) -> None:
    plant(monkeypatch)
    with pytest.raises((AssertionError, IntegrityError), match=found):
        # The first that finds it ends the run. Which one that is hangs on the modules that other tests have loaded.
        _run(phases=[Phase.generate], examples=2000)
