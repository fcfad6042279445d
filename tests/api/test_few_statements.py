"""What an answer costs the database: a handful of statements, however many images and attempts there are."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext

from accounts.authentication import authenticate
from accounts.models import ApiKey
from generation import queries, submission
from generation.contract import GenerationRequest
from generation.dialects import door
from generation.dialects.native import views
from generation.models import Generation

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("audited")]


def _generations(person: Any, queue: Any, *, count: int, n: int, prompt: str = "x") -> list[Generation]:
    request = GenerationRequest(prompt=prompt, n=n, image_size="1K")
    ids = [submission.accept(person.requester(), request, now=datetime.now(UTC)).generation_id for _ in range(count)]
    queue.run_to_the_end()
    return [Generation.objects.get(pk=each) for each in ids]


def _used(person: Any) -> None:
    """The key was used a moment ago, so that its use need not be noted again."""
    authenticate(person.keys["test"].raw, address="", now=datetime.now(UTC))


def _asked(person: Any, method: str, path: str, view: Any, body: Any = None, **kwargs: Any) -> Any:
    """A view asked in this thread, where the statements are counted."""
    request = RequestFactory().generic(
        method, path, json.dumps(body or {}), content_type="application/json", headers=person.headers()
    )
    return door.call(view.as_view(), request, **kwargs)


def test_a_generation_is_read_in_two_statements(alice: Any, queue: Any, django_assert_num_queries: Any) -> None:
    [failed] = _generations(alice, queue, count=1, n=4, prompt="sandbox:500:2")
    with django_assert_num_queries(2):
        found = queries.outcome(failed.pk)
    assert [each.index for each in found.outputs] == [0, 1, 2, 3]
    assert all(len(each.attempts) == 3 for each in found.outputs)
    assert [each["number"] for each in found.outputs[0].attempts] == [1, 2, 3]


def test_many_generations_are_read_in_as_many_statements_as_one(
    alice: Any, queue: Any, django_assert_num_queries: Any
) -> None:
    rows = _generations(alice, queue, count=5, n=2)
    with django_assert_num_queries(2):
        found = queries.readings([row.pk for row in rows])
    assert {each.outcome.id for each in found.values()} == {row.public_id for row in rows}
    assert all(len(each.files) == 2 for each in found.values())
    with django_assert_num_queries(2):
        page = queries.outcomes(alice.requester(), limit=4)
    assert [each.id for each in page.data] == [row.public_id for row in reversed(rows)][:4]


def test_what_does_not_exist_is_not_read(alice: Any) -> None:
    assert queries.readings([alice.account.pk]) == {}
    with pytest.raises(LookupError):
        queries.reading(alice.account.pk)


def test_a_key_is_looked_up_in_one_statement_and_its_use_is_noted_once_a_minute(
    alice: Any, django_assert_num_queries: Any
) -> None:
    raw, now = alice.keys["test"].raw, datetime.now(UTC)
    authenticate(raw, address="", now=now)
    with django_assert_num_queries(1):
        assert authenticate(raw, address="", now=now + timedelta(seconds=59)).account.status == "active"
    assert ApiKey.objects.get(key_id=alice.keys["test"].api_key.key_id).last_used_at == now
    later = now + timedelta(seconds=60)
    authenticate(raw, address="", now=later)
    assert ApiKey.objects.get(key_id=alice.keys["test"].api_key.key_id).last_used_at == later


def test_asking_for_a_generation_takes_three_statements(alice: Any, queue: Any, django_assert_num_queries: Any) -> None:
    [row] = _generations(alice, queue, count=1, n=3)
    _used(alice)
    with django_assert_num_queries(3):
        handed = _asked(alice, "GET", "/", views.DetailView, generation_id=row.public_id)
    assert handed.value.reading.outcome.id == row.public_id


@pytest.mark.parametrize("prefer", ["wait=60", ""], ids=["waiting", "not waiting"])
def test_a_create_adds_one_statement_to_accepting_whether_or_not_it_answers_at_once(
    alice: Any, queue: Any, prefer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _used(alice)
    accepting, accept = CaptureQueriesContext(connection), submission.accept

    def counted(*args: Any, **kwargs: Any) -> Any:
        with accepting:
            return accept(*args, **kwargs)

    monkeypatch.setattr(submission, "accept", counted)
    body = {"prompt": "y", "image_size": "1K"}
    request = RequestFactory().post("/", body, content_type="application/json", headers=alice.headers(prefer=prefer))
    with CaptureQueriesContext(connection) as whole:
        handed = door.call(views.GenerationsView.as_view(), request)
    assert (handed.value.reading is None) == bool(prefer)
    assert len(whole) - len(accepting) == 1
    queue.run_to_the_end()


def test_progress_of_many_is_one_statement(alice: Any, queue: Any, django_assert_num_queries: Any) -> None:
    rows = _generations(alice, queue, count=3, n=2)
    with django_assert_num_queries(1):
        assert queries.progress([row.pk for row in rows]) == {row.pk: ("succeeded", 0, 2) for row in rows}
