"""E: prices, budgets and credit that change or run out between the quote and the charge."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client
from django.urls import reverse

from accounts.ledger import adjustments, budgets
from accounts.ledger.models import BudgetPeriod, Lot
from accounts.models import ApiKey, User
from generation.contract import Refusal
from generation.models import Charge, Price
from tests.faults.pictures import Picture, delivered
from tests.faults.upstreams import OK, PRICE_MICROS, START_MICROS, Upstream

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("audited")]

PictureOf = Callable[[uuid.UUID], Picture]


def _reprice(factor: float, *, size: str = "1K", at: datetime | None = None) -> Price:
    """Another price of a size, in force from now on."""
    rows = Price.objects.filter(image_model="gemini-3-pro-image", image_size=size, lane="standard")
    price = rows.latest("valid_from")
    price.pk, price.valid_from = None, at or datetime.now(UTC)
    price.image_micros = int(price.image_micros * factor)
    price.save()
    return price


@pytest.mark.parametrize("factor", [0, 0.5, 3])
def test_e7_the_price_of_the_moment_of_acceptance_counts(upstream: Upstream, rows: PictureOf, factor: float) -> None:
    made = upstream.ask()
    _reprice(factor)
    upstream.queue.run_to_the_end()
    assert rows(made) == delivered([OK], price=PRICE_MICROS, quote=PRICE_MICROS, available=START_MICROS)
    assert upstream.quote() == int(PRICE_MICROS * factor)
    assert Charge.objects.get().price != Price.objects.latest("valid_from")


@pytest.mark.parametrize("factor", [0.5, 3])
def test_e7_a_smaller_picture_costs_what_it_cost_when_it_was_asked_for(
    upstream: Upstream, rows: PictureOf, factor: float
) -> None:
    quote = upstream.quote(image_size="4K")
    upstream.play(upstream.fault("wrong-size"))
    made = upstream.ask(image_size="4K")
    for size in ("1K", "4K"):
        _reprice(factor, size=size)
    upstream.queue.run_to_the_end()
    assert rows(made) == delivered([OK], price=PRICE_MICROS, quote=quote, available=START_MICROS)


def test_e7_a_price_of_tomorrow_taken_out_of_the_book_changes_nothing(upstream: Upstream, rows: PictureOf) -> None:
    """A price that nothing hangs on may go; what was accepted at another one does not notice."""
    later = _reprice(2, at=datetime.now(UTC) + timedelta(days=1))
    made = upstream.ask()
    later.delete()
    upstream.queue.run_to_the_end()
    assert rows(made) == upstream.delivered([OK])


def test_e7_the_operator_cannot_rewrite_a_price_that_something_under_way_was_accepted_at(
    upstream: Upstream, rows: PictureOf
) -> None:
    made = upstream.ask()
    price = Price.objects.get(generations=made)
    operator = User.objects.create_superuser("operator@example.com", "correct horse battery")
    desk = Client()
    desk.force_login(operator)
    page = reverse("admin:generation_price_change", args=[price.pk])
    form = {
        "image_model": "gemini-3-pro-image",
        "image_size": "1K",
        "lane": "standard",
        "valid_from_0": f"{price.valid_from:%Y-%m-%d}",
        "valid_from_1": f"{price.valid_from:%H:%M:%S}",
        "image_micros": "0.01",
        "reference_micros": "0",
        "grounding_micros": "0",
        "input_micros_per_million_tokens": "2",
        "input_allowance_tokens": "2000",
        "markup_basis_points": "1000",
    }
    assert desk.post(page, form).status_code == 403
    upstream.queue.run_to_the_end()
    assert rows(made) == upstream.delivered([OK])


def _budgeted(upstream: Upstream, micros: int, period: str) -> ApiKey:
    key = upstream.person.keys["live"].api_key
    ApiKey.objects.filter(pk=key.pk).update(budget_micros=micros, budget_period=period)
    key.refresh_from_db()
    return key


def _periods(key: ApiKey) -> list[tuple[int, int]]:
    """(reserved, spent) of each period, the oldest first."""
    rows = BudgetPeriod.objects.filter(api_key=key).order_by("starts_at")
    return list(rows.values_list("reserved_micros", "spent_micros"))


def test_e9_a_budget_period_that_ends_under_way_pays_for_what_it_began(upstream: Upstream, rows: PictureOf) -> None:
    key = _budgeted(upstream, PRICE_MICROS, "daily")
    made = upstream.ask()
    BudgetPeriod.objects.update(starts_at=budgets.period_start("daily", datetime.now(UTC) - timedelta(days=1)))
    second = upstream.ask()
    upstream.queue.run_to_the_end()
    assert rows(made).charges + rows(second).charges == [PRICE_MICROS] * 2
    assert _periods(key) == [(0, PRICE_MICROS), (0, PRICE_MICROS)]
    with pytest.raises(Refusal) as caught:
        upstream.ask()
    assert caught.value.code == "budget_exceeded"


@pytest.mark.parametrize("fault", ["", "blocked-image", "wrong-size"])
def test_e9_a_budget_taken_away_under_way_keeps_what_was_reserved(
    upstream: Upstream, rows: PictureOf, fault: str
) -> None:
    key = _budgeted(upstream, 10 * PRICE_MICROS, "monthly")
    if fault:
        upstream.play(upstream.fault(fault))
    made = upstream.ask(image_size="4K" if fault == "wrong-size" else "1K")
    budgets.change(key, budget_micros=0, now=datetime.now(UTC))
    key.refresh_from_db()
    with pytest.raises(Refusal) as caught:
        upstream.ask()
    assert caught.value.code == "budget_exceeded"
    upstream.queue.run_to_the_end()
    found = rows(made)
    assert found.charges == ([] if fault == "blocked-image" else [PRICE_MICROS])
    assert _periods(key) == [(0, sum(found.charges))]


def test_e9_credit_that_expires_under_way_still_pays_for_what_it_was_set_aside_for(
    upstream: Upstream, rows: PictureOf
) -> None:
    account = upstream.person.account
    adjustments.grant(
        account=account,
        mode="live",
        amount_micros=PRICE_MICROS,
        actor="test",
        reason="a promotion",
        now=datetime.now(UTC),
        expires_at=datetime.now(UTC) + timedelta(hours=1),
    )
    made = upstream.ask()
    Lot.objects.filter(expires_at__isnull=False).update(expires_at=datetime.now(UTC) - timedelta(seconds=1))
    upstream.queue.run_to_the_end()
    assert rows(made).wallet == (START_MICROS, 0)
    # What expires first is used first: the promotion is gone, the rest is whole.
    lots = Lot.objects.filter(wallet__account=account, wallet__mode="live").order_by("pk")
    assert list(lots.values_list("remaining_micros", flat=True)) == [START_MICROS, 0]
