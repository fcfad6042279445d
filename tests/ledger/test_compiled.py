"""Queries compiled once answer, and rows inserted together say, what Django's own would."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import Count, F
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from accounts.compiled import CompiledSelect, CompiledUpdate
from accounts.ledger.models import Wallet
from accounts.models import Account, ApiKey
from accounts.row_writes import insert_each
from generation.models import IdempotencyKey, Output

pytestmark = pytest.mark.django_db


@pytest.fixture
def people(make_person: Any) -> list[Any]:
    return [make_person(f"person{number}", live_micros=1_000_000 * number) for number in range(4)]


def test_models_come_with_what_is_selected_with_them(people: Any, django_assert_num_queries: Any) -> None:
    compiled = CompiledSelect(lambda ids: ApiKey.objects.select_related("account").filter(pk__in=ids).order_by("name"))
    for some in (people[:1], people[1:2], people[2:], people):
        ids = [key.pk for key in ApiKey.objects.filter(account__in=[each.account for each in some])]
        with django_assert_num_queries(1):
            found = [(row.pk, row.name, row.account.name, row.created_at) for row in compiled(ids)]
        wanted = ApiKey.objects.filter(pk__in=ids).order_by("name").select_related("account")
        assert found == [(row.pk, row.name, row.account.name, row.created_at) for row in wanted]
        assert len(found) == 2 * len(some)


def test_a_row_that_was_read_can_be_saved(people: Any) -> None:
    compiled = CompiledSelect(lambda ids: Account.objects.only("queue_cap").filter(pk__in=ids))
    (row,) = compiled([people[1].account.pk])
    assert row.get_deferred_fields() >= {"name", "running_cap"}
    row.queue_cap = 7
    row.save()
    assert Account.objects.get(pk=row.pk).queue_cap == 7
    assert Account.objects.filter(queue_cap=7).count() == 1


def test_values_alone_in_pairs_and_by_name(people: Any) -> None:
    accounts = [each.account.pk for each in people]
    wallets = Wallet.objects.order_by("pk")
    queries: list[Any] = [
        lambda ids, modes: wallets.filter(account_id__in=ids, mode__in=modes).values_list("account_id", flat=True),
        lambda ids, modes: wallets.filter(account_id__in=ids, mode__in=modes).values_list("available_micros", "mode"),
        lambda ids, modes: (
            wallets.filter(account_id__in=ids, mode__in=modes)
            .order_by("mode")
            .values_list("mode")
            .annotate(count=Count("id"))
        ),
        lambda ids, modes: wallets.filter(account_id__in=ids, mode__in=modes).values_list(
            "account_id", "created_at", named=True
        ),
    ]
    for build in queries:
        compiled = CompiledSelect(build)
        for ids, modes in ((accounts, ["live"]), (accounts[2:], ["test", "live"]), (accounts[:1], ["live"])):
            assert compiled(ids, modes) == list(build(ids, modes))
            assert compiled(ids, modes)
    assert CompiledSelect(queries[3])(accounts[:1], ["live"])[0].account_id == accounts[0]


def test_numbers_and_what_is_given_twice(people: Any) -> None:
    compiled = CompiledSelect(lambda ids: Wallet.objects.filter(pk__in=ids).values_list("pk", flat=True))
    first, second = Wallet.objects.order_by("pk").values_list("pk", flat=True)[:2]
    assert compiled([first, first]) == [first]
    assert sorted(compiled([second, first])) == [first, second]


def test_nothing_is_found_by_nothing(people: Any, django_assert_num_queries: Any) -> None:
    compiled = CompiledSelect(lambda ids: Wallet.objects.filter(account_id__in=ids))
    with django_assert_num_queries(0):
        assert compiled([]) == []
    assert compiled([uuid.uuid4()]) == []


def test_a_query_that_changes_its_values_is_found_out(people: Any) -> None:
    compiled = CompiledSelect(lambda modes: Wallet.objects.filter(mode__in=[each.upper() for each in modes]))
    with pytest.raises(AssertionError, match="a value is lost"):
        compiled(["live"])


def test_a_clock_in_a_row_is_the_databases(people: Any, alice: Any, queue: Any) -> None:
    from generation import submission
    from generation.contract import GenerationRequest

    accepted = submission.accept(alice.requester(), GenerationRequest(prompt="x"), now=datetime.now(UTC))
    output = Output.objects.get(generation_id=accepted.generation_id)
    twin = Output(generation_id=output.generation_id, account_id=output.account_id, mode="test", index=9)
    twin.next_run_at, twin.quote_micros, twin.created_at = Now(), 0, output.created_at
    insert_each([twin])
    row = Output.objects.get(pk=twin.pk)
    assert abs(row.next_run_at - datetime.now(UTC)) < timedelta(minutes=1)
    assert (row.index, row.state, row.sources, row.api_key_id) == (9, "queued", [], None)


def test_more_rows_than_one_statement_takes(alice: Any, queue: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from accounts import row_writes
    from generation import submission
    from generation.contract import GenerationRequest

    monkeypatch.setattr(row_writes, "_MAX_PARAMETERS", 30)
    accepted = submission.accept(alice.requester(), GenerationRequest(prompt="x"), now=datetime.now(UTC))
    keys = [
        IdempotencyKey(
            account=alice.account,
            mode="test",
            key=f"key {number}",
            request_sha256="0" * 64,
            generation_id=accepted.generation_id,
            created_at=datetime.now(UTC),
        )
        for number in range(40)
    ]
    with CaptureQueriesContext(connection) as captured:
        insert_each(keys)
    assert len(captured) > 5
    assert IdempotencyKey.objects.count() == 40
    assert [(row._state.adding, row._state.db) for row in keys[:2]] == [(False, "default")] * 2
    assert {row.pk for row in keys} == set(IdempotencyKey.objects.values_list("pk", flat=True))
    assert insert_each([]) == []


def test_an_update_meets_the_rows_it_is_given_and_writes_what_it_is_given(people: Any) -> None:
    compiled = CompiledUpdate(
        lambda ids, names: (Account.objects.filter(pk__in=ids), {"name": names[0], "queue_cap": F("queue_cap") + 1})
    )
    Account.objects.update(queue_cap=5)
    ids = [each.account.pk for each in people]
    assert compiled(ids[:2], ["first"]) == 2
    assert compiled(ids[1:3], ["second"]) == 2
    assert compiled([], ["nobody"]) == 0
    found = [Account.objects.values_list("name", "queue_cap").get(pk=pk) for pk in ids]
    assert found[:3] == [("first", 6), ("second", 7), ("second", 6)]
    assert found[3][1] == 5
