"""What people set for themselves: the month's spending limit, and mails before money runs out."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core import mail

from accounts.ledger import adjustments, limits, operations
from accounts.ledger.models import SpendingPeriod, Wallet
from accounts.notices import outbox, watching
from accounts.notices.models import Notice
from accounts.transactions import write_transaction
from generation import submission
from generation.contract import GenerationRequest, Refusal
from tests.conftest import limited
from tests.payments.conftest import wallet

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("audited", "holds_without_outputs")]
DOLLAR = 1_000_000


def set_limit(person: Any, micros: int | None, now: datetime | None = None) -> None:
    adjustments.set_spending_limit(
        account=person.account, mode="test", limit_micros=micros, now=now or datetime.now(UTC)
    )


def ask(person: Any, *, n: int = 1) -> Any:
    request = GenerationRequest(prompt="A banana", n=n, image_size="1K")
    return submission.accept(person.requester(), request, now=datetime.now(UTC))


def used(person: Any) -> tuple[int, int]:
    row = limits.period_of(wallet(person), now=datetime.now(UTC))
    return (row.reserved_micros, row.spent_micros) if row else (0, 0)


def test_the_limit_is_a_hard_cap_and_counts_what_is_delivered(alice: Any, queue: Any) -> None:
    set_limit(alice, 300_000)
    ask(alice, n=2)
    with pytest.raises(Refusal) as refused:
        ask(alice)
    assert (refused.value.kind, refused.value.code) == ("payment", "spending_limit_exceeded")
    queue.run_to_the_end()
    assert used(alice) == (0, 294_800)


def test_what_is_released_may_be_spent(alice: Any, queue: Any) -> None:
    set_limit(alice, 150_000)
    request = GenerationRequest(prompt="sandbox:refuse", image_size="1K")
    submission.accept(alice.requester(), request, now=datetime.now(UTC))
    queue.run_to_the_end()
    assert used(alice) == (0, 0)
    ask(alice)


def test_a_limit_set_in_the_middle_of_a_month_counts_the_whole_of_it(alice: Any, queue: Any) -> None:
    ask(alice)
    queue.run_to_the_end()
    ask(alice)
    set_limit(alice, 300_000)
    assert used(alice)[1] == 147_400 and used(alice)[0] > 0
    with pytest.raises(Refusal):
        ask(alice)
    set_limit(alice, None)
    ask(alice)
    set_limit(alice, 10 * DOLLAR)
    queue.run_to_the_end()
    assert used(alice) == (0, 3 * 147_400)


def test_a_limit_below_what_is_held_stops_the_next_and_lets_the_held_end(alice: Any, queue: Any) -> None:
    set_limit(alice, DOLLAR)
    ask(alice, n=3)
    set_limit(alice, 1)
    queue.run_to_the_end()
    assert used(alice) == (0, 3 * 147_400)
    with pytest.raises(Refusal):
        ask(alice)


def test_a_hold_of_last_month_ends_in_last_month(alice: Any) -> None:
    last_month, now = datetime(2026, 10, 31, 23, 59, tzinfo=UTC), datetime(2026, 11, 1, 0, 1, tzinfo=UTC)
    set_limit(alice, DOLLAR, last_month)
    output = uuid.uuid4()
    with write_transaction():
        operations.hold(
            account_id=alice.account.pk, mode="test", amounts={output: DOLLAR}, api_key=None, now=last_month
        )
    with pytest.raises(limits.SpendingLimitExceeded), write_transaction():
        operations.hold(
            account_id=alice.account.pk, mode="test", amounts={uuid.uuid4(): 1}, api_key=None, now=last_month
        )
    other = uuid.uuid4()
    with write_transaction():
        operations.hold(account_id=alice.account.pk, mode="test", amounts={other: DOLLAR}, api_key=None, now=now)
        operations.settle({output: DOLLAR // 2}, now=now)
        operations.settle({other: 0}, now=now)
    rows = SpendingPeriod.objects.order_by("starts_at").values_list(
        "starts_at__month", "reserved_micros", "spent_micros"
    )
    assert list(rows) == [(10, 0, DOLLAR // 2), (11, 0, 0)]


# --- mails -----------------------------------------------------------------------------------------------------------


def watch(now: datetime | None = None) -> list[str]:
    now = now or datetime.now(UTC)
    mail.outbox.clear()
    watching.watch(now=now)
    outbox.send_due(now=now)
    return [each.subject for each in mail.outbox]


def test_a_low_balance_is_told_once_until_it_was_high_again(bob: Any) -> None:
    now = datetime.now(UTC)
    Wallet.objects.filter(account=bob.account, mode="live").update(low_balance_micros=5 * DOLLAR)

    def move(micros: int) -> None:
        adjustments.adjust(account=bob.account, mode="live", amount_micros=micros, actor="o", reason="r", now=now)

    assert watch() == ["Your balance is low"]
    assert watch() == []
    move(6 * DOLLAR)
    assert watch() == []
    move(-2 * DOLLAR)
    assert watch() == ["Your balance is low"]
    assert mail.outbox[0].to == [bob.user.email] and "$4.00" in mail.outbox[0].body


def test_a_keys_budget_is_told_at_50_80_and_100_percent(alice: Any, queue: Any) -> None:
    limited(alice, budget_micros=5 * 147_400, budget_period="monthly")
    told = []
    for _ in range(5):
        submission.accept(alice.requester(), GenerationRequest(prompt="x", image_size="1K"), now=datetime.now(UTC))
        queue.run_to_the_end()
        told.append(watch())
    key = "budget of key alice test (monthly) is used"
    assert told == [[], [], [f"50 % of the {key}"], [f"80 % of the {key}"], [f"100 % of the {key}"]]
    assert watch() == []


def test_the_months_limit_is_told_too_and_steps_that_were_passed_are_not_made_up_for(alice: Any, queue: Any) -> None:
    set_limit(alice, 160_000)
    ask(alice)
    queue.run_to_the_end()
    # 13 cents are left, and an image costs 15: nothing can be made any more.
    assert watch() == ["100 % of the test spending limit of this month is used"]


def test_a_mail_that_cannot_be_sent_waits(bob: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime.now(UTC)
    outbox.tell(bob.account, key="k", subject="s", body="b", now=now)
    assert not outbox.tell(bob.account, key="k", subject="s", body="b", now=now)

    def down(*_: Any, **__: Any) -> int:
        raise OSError("no route to the mail server")

    with monkeypatch.context() as patched:
        patched.setattr(outbox, "send_mail", down)
        assert outbox.send_due(now=now) == 0
    assert Notice.objects.get().sent_at is None
    assert outbox.send_due(now=now + timedelta(minutes=1)) == 0
    assert outbox.send_due(now=now + timedelta(minutes=3)) == 1
    assert [each.subject for each in mail.outbox] == ["s"]
