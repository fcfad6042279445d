"""The admin's lists stay quick over large tables: few statements, none that counts a whole table, sums of a period."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts.ledger.admin import lists
from accounts.ledger.admin.lists import BoundedPaginator, PeriodFilter, period_filter
from accounts.ledger.models import Entry, Hold
from accounts.models import User
from generation import submission
from generation.admin import figures
from generation.contract import GenerationRequest
from generation.models import Attempt, Charge, Generation
from generation.triggers import GUARDS

pytestmark = pytest.mark.django_db(transaction=True)

CHARGES = "generation_charge_changelist"
# What a page may ask: session, user, rows, count; then sums, and whatever its filters offer.
STATEMENTS = {
    "index": 17,
    CHARGES: 11,
    "generation_generation_changelist": 5,
    "ledger_entry_changelist": 4,
    "ledger_hold_changelist": 4,
    "ledger_lotuse_changelist": 4,
}
BIG = ("generation_generation", "generation_charge", "ledger_entry", "ledger_hold", "ledger_lotuse")


@dataclass
class Desk:
    """The operator's browser, and the person whose images it shows."""

    client: Client
    alice: Any

    def get(self, page: str, **query: str) -> str:
        response = self.client.get(reverse(f"admin:{page}"), query)
        assert response.status_code == 200, (page, query, response.status_code)
        return response.content.decode()

    def statements(self, page: str, **query: str) -> list[str]:
        with CaptureQueriesContext(connection) as asked:
            self.get(page, **query)
        return [each["sql"] for each in asked]


@pytest.fixture
def desk(alice: Any, queue: Any) -> Desk:
    """Three test images, and an answered call that brought none."""
    for prompt, n in (("a brass teapot", 3), ("sandbox:refuse", 1)):
        request = GenerationRequest(prompt, n=n, image_size="1K")
        submission.accept(alice.requester("test"), request, now=datetime.now(UTC))
    queue.run_to_the_end()
    Attempt.objects.filter(is_delivered=False).update(cost_micros=2_500)
    client = Client()
    client.force_login(User.objects.create_superuser("operator@example.com", "correct horse battery"))
    return Desk(client, alice)


@pytest.fixture
def aged(desk: Desk) -> Desk:
    """The same, with one charge of 40 days ago and one of 400; charges do not change, so their guard looks away."""
    GUARDS.drop(connection)
    try:
        for charge, days in zip(Charge.objects.order_by("pk"), (400, 40), strict=False):
            Charge.objects.filter(pk=charge.pk).update(created_at=datetime.now(UTC) - timedelta(days=days))
    finally:
        GUARDS.create(connection)
    return desk


@pytest.fixture
def bound(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(lists, "COUNT_LIMIT", 2)
    return 2


def _sums(text: str) -> tuple[str, list[str]]:
    """The caption of the sums, and the dollars below it."""
    table = text[text.index('id="sums"') :]
    table = table[: table.index("</table>")]
    caption = re.search("<caption>([^<]+)</caption>", table)
    assert caption
    return caption[1], re.findall(r"<td>([^<]+)</td>", table)


def _counts(statements: list[str]) -> Iterator[str]:
    """Statements that count the rows of a big table without an end."""
    for each in statements:
        is_counting = re.match(r"SELECT COUNT\(", each) and any(f'FROM "{table}"' in each for table in BIG)
        if is_counting and "LIMIT" not in each and '"created_at" >=' not in each:
            yield each


# --- statements -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("page", "most"), STATEMENTS.items(), ids=STATEMENTS)
def test_a_page_asks_few_statements_however_many_rows_it_shows(desk: Desk, page: str, most: int) -> None:
    assert len(desk.statements(page)) <= most


@pytest.mark.parametrize("page", STATEMENTS)
def test_no_page_counts_a_whole_table_or_looks_for_its_days(desk: Desk, page: str) -> None:
    asked = desk.statements(page)
    assert list(_counts(asked)) == []
    assert not [each for each in asked if "DISTINCT" in each or "TRUNC" in each.upper()]


def test_the_check_sees_a_count_of_a_whole_table(desk: Desk) -> None:
    with CaptureQueriesContext(connection) as asked:
        Entry.objects.count()
    assert len(list(_counts([each["sql"] for each in asked]))) == 1


def test_counts_of_each_choice_are_not_offered(desk: Desk) -> None:
    for page in STATEMENTS:
        if page != "index":
            assert "Show counts" not in desk.get(page)
            assert len(desk.statements(page, _facets="True")) <= STATEMENTS[page]


def test_sums_need_nothing_but_an_index(desk: Desk) -> None:
    """Whether PostgreSQL takes it is a matter of statistics; whether it could is a matter of columns."""
    usage, sums = (
        next(each for each in Charge._meta.indexes if each.name == name)
        for name in ("charge_account_sums", "charge_sums")
    )
    money = {"price_micros", "cost_micros"}
    assert money <= set(sums.include) and money <= set(usage.include)
    statement = next(each for each in desk.statements(CHARGES) if "SUM(" in each and "generation_charge" in each)
    named = set(re.findall(r'"generation_charge"\."(\w+)"', statement))
    assert named <= {*sums.fields, *sums.include}
    assert "COUNT(*)" in statement


@pytest.mark.parametrize(("model", "column"), [(Attempt, "output_id"), (Attempt, "channel_id"), (Charge, "account_id")])
def test_a_column_that_an_index_begins_with_has_none_of_its_own(model: Any, column: str) -> None:
    with connection.cursor() as cursor:
        found = connection.introspection.get_constraints(cursor, model._meta.db_table).values()
    leading = [each["columns"] for each in found if each["index"] or each["unique"]]
    assert [column] not in leading
    assert any(columns[:1] == [column] for columns in leading)


# --- counts with a bound ----------------------------------------------------------------------------------------------


def test_a_count_stops_at_its_bound_and_says_so(desk: Desk, bound: int) -> None:
    assert "more than 2 charges" in desk.get(CHARGES)
    assert "more than 2 results" in desk.get(CHARGES, q=desk.alice.account.public_id)
    few = desk.get(CHARGES, q=Charge.objects.first().output.public_id)
    assert re.search(r"\b1 charge\b", few) and "1 result " in few and "more than" not in few
    assert "All 3 images of this filter" in desk.get(CHARGES), "sums are never cut"


def test_pages_end_where_the_count_ends(desk: Desk, bound: int) -> None:
    rows = Entry.objects.order_by("-pk")
    paginator = BoundedPaginator(rows, 1)
    assert (paginator.count, paginator.num_pages, paginator.words) == (2, 2, "more than 2")
    assert list(paginator.page(2)) == [rows[1]]
    exact = BoundedPaginator(rows.filter(pk__in=[each.pk for each in rows[:2]]), 1)
    assert (exact.count, exact.words) == (2, "2")


def test_a_count_reads_one_row_more_than_its_bound(desk: Desk, bound: int) -> None:
    with CaptureQueriesContext(connection) as asked:
        assert BoundedPaginator(Hold.objects.order_by("-pk"), 50).words == "more than 2"
    assert len(asked) == 1 and "LIMIT 3" in asked[0]["sql"]


# --- periods ------------------------------------------------------------------------------------------------------------


def test_charges_are_summed_over_thirty_days_unless_something_else_is_chosen(aged: Desk) -> None:
    assert _sums(aged.get(CHARGES)) == (
        "All 1 image of this filter: last 30 days",
        ["$0.1474", "$0.00", "$0.1474", "$0.0025", "$0.1449"],
    )
    assert _sums(aged.get(CHARGES, period="all")) == (
        "All 3 images of this filter: all time",
        ["$0.4422", "$0.00", "$0.4422", "$0.0025", "$0.4397"],
    )
    assert _sums(aged.get(CHARGES, period="nonsense"))[0].endswith("last 30 days")
    assert _sums(aged.get(CHARGES, period="all", mode="live"))[1] == ["$0.00"] * 5


def test_what_was_lost_is_of_the_same_period(aged: Desk) -> None:
    Attempt.objects.filter(cost_micros__gt=0).update(started_at=datetime.now(UTC) - timedelta(days=3))
    assert _sums(aged.get(CHARGES, period="24h"))[1][3] == "$0.00"
    assert _sums(aged.get(CHARGES, period="7d"))[1][3] == "$0.0025"
    assert _sums(aged.get(CHARGES))[1][3] == "$0.0025"


def test_a_search_looks_through_all_time(aged: Desk) -> None:
    old = Charge.objects.order_by("pk").first()
    for term in (old.output.public_id, aged.alice.account.public_id, aged.alice.account.name):
        text = aged.get(CHARGES, q=term)
        assert old.output.public_id in text and _sums(text)[0].endswith("all time"), term
    within = aged.get(CHARGES, q=old.output.public_id, period="30d")
    assert "All 0 images of this filter: last 30 days" in within


def test_dates_in_the_address_stand_in_for_a_period(aged: Desk) -> None:
    year = datetime.now(UTC) - timedelta(days=401)
    text = aged.get(CHARGES, created_at__gte=f"{year:%Y-%m-%d}T00:00Z")
    assert _sums(text)[0] == "All 3 images of this filter: the dates in the address"
    filters = text[text.index('data-filter-title="period"') :]
    filters = filters[: filters.index("</details>")]
    assert "selected" not in filters and "created_at__gte" not in filters, "a period replaces the dates"


def test_the_chosen_period_is_marked(desk: Desk) -> None:
    for page, query, words in (
        (CHARGES, {}, "Last 30 days"),
        (CHARGES, {"period": "7d"}, "Last 7 days"),
        ("ledger_entry_changelist", {}, "All time"),
        ("ledger_hold_changelist", {"period": "24h"}, "Last 24 hours"),
        ("generation_generation_changelist", {"period": "last_month"}, "Last month"),
    ):
        text = desk.get(page, **query)
        filters = text[text.index('data-filter-title="period"') :]
        chosen = re.findall(r'<li class="selected">\s*<a [^>]*>([^<]+)</a>', filters[: filters.index("</details>")])
        assert chosen == [words], (page, query)


def test_lists_show_rows_of_their_period(desk: Desk) -> None:
    old = Generation.objects.first()
    Generation.objects.filter(pk=old.pk).update(created_at=datetime.now(UTC) - timedelta(days=10))
    page = "generation_generation_changelist"
    assert old.public_id in desk.get(page)
    assert old.public_id in desk.get(page, period="30d")
    assert old.public_id not in desk.get(page, period="7d")


@pytest.mark.parametrize(
    ("period", "since", "until"),
    [
        ("24h", datetime(2026, 1, 14, 12, tzinfo=UTC), None),
        ("30d", datetime(2025, 12, 16, 12, tzinfo=UTC), None),
        ("month", datetime(2026, 1, 1, tzinfo=UTC), None),
        ("last_month", datetime(2025, 12, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)),
        ("all", None, None),
        ("", None, None),
    ],
)
def test_a_period_has_a_beginning_and_an_end(period: str, since: datetime | None, until: datetime | None) -> None:
    assert lists._bounds(period, datetime(2026, 1, 15, 12, tzinfo=UTC)) == (since, until)


def test_every_list_over_a_big_table_has_a_period(desk: Desk) -> None:
    from django.contrib import admin

    for model in (Generation, Charge, Entry, Hold):
        found = admin.site.get_model_admin(model)
        assert any(isinstance(each, type) and issubclass(each, PeriodFilter) for each in found.list_filter), model
        assert found.date_hierarchy is None and found.paginator is BoundedPaginator
    assert period_filter(default="7d").default == "7d"


def test_the_sums_agree_with_the_rows(aged: Desk) -> None:
    since = datetime.now(UTC) - timedelta(days=30)
    rows = [each for each in Charge.objects.all() if each.created_at >= since]
    lost = [each for each in Attempt.objects.all() if not each.is_delivered and each.started_at >= since]
    found = figures.sums(
        figures.in_both_modes(Charge.objects.filter(created_at__gte=since)),
        Attempt.objects.filter(started_at__gte=since),
    )
    assert found.image_count == len(rows) == 1
    assert found.price_micros == sum(each.price_micros for each in rows)
    assert found.lost_micros == sum(each.cost_micros for each in lost) == 2_500


def test_sums_of_all_time_add_up_the_past_once(aged: Desk, django_assert_num_queries: Any) -> None:
    charges, attempts = figures.in_both_modes(Charge.objects.all()), Attempt.objects.all()
    with django_assert_num_queries(4):
        found = figures.sums_of_all_time(charges, attempts)
    assert found == figures.sums(charges, attempts)
    assert (
        found.image_count
        > figures.sums(charges.filter(created_at__gte=datetime.now(UTC) - timedelta(days=2)), attempts).image_count
    )
    with django_assert_num_queries(2):
        assert figures.sums_of_all_time(charges, attempts) == found
    of_test = charges.filter(mode="test")
    assert figures.sums_of_all_time(of_test, attempts) == figures.sums(of_test, attempts)
