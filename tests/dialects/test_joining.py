"""A request that is sent again without an idempotency key: it joins what it asked for, or it is a new one."""

from __future__ import annotations

import threading
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now

from accounts.ledger.models import Entry
from generation import presence, submission
from generation.contract import GenerationRequest, ReferenceInput, Refusal
from generation.models import Generation
from generation.presence import Presence
from generation.submission import Joining
from tests import images

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("audited")]
AGAIN, LOST = Joining.SENT_AGAIN, Joining.IF_LOST


def _ask(person: Any, joining: Joining | None = LOST, *, mode: str = "test", **fields: Any) -> uuid.UUID:
    asked = GenerationRequest(**{"prompt": "a cat", **fields})
    return submission.accept(person.requester(mode), asked, now=datetime.now(UTC), joining=joining).generation_id


def _lose(generation_id: uuid.UUID) -> None:
    """Its client has gone without an answer."""
    Generation.objects.filter(pk=generation_id).update(connected_until=Now() - timedelta(seconds=1))


def _deliver(generation_id: uuid.UUID) -> None:
    Generation.objects.filter(pk=generation_id).update(delivered_at=Now())


def test_two_clients_that_are_both_connected_get_two_images(alice: Any, queue: Any) -> None:
    assert _ask(alice) != _ask(alice)
    queue.run()
    assert Entry.objects.filter(kind="capture").count() == 2


def test_what_was_lost_is_joined_and_bought_once(alice: Any, queue: Any) -> None:
    first = _ask(alice)
    _lose(first)
    assert _ask(alice) == first
    queue.run()
    assert Generation.objects.get().status == "succeeded"
    assert Entry.objects.filter(kind="capture").count() == 1
    # It is connected again, so that a third client is a new one.
    assert _ask(alice) != first
    queue.run()


def test_a_marked_resend_joins_what_is_connected_or_delivered(alice: Any, queue: Any) -> None:
    first = _ask(alice)
    assert _ask(alice, AGAIN) == first
    queue.run()
    _deliver(first)
    assert _ask(alice, AGAIN) == first
    assert _ask(alice, LOST) != first
    queue.run()


def test_of_several_the_lost_one_is_joined_before_the_newest(alice: Any, queue: Any) -> None:
    first, second = _ask(alice), _ask(alice)
    _lose(first)
    assert _ask(alice, AGAIN) == first
    assert _ask(alice, AGAIN) == second
    queue.run()


def test_what_was_delivered_is_joined_by_nobody_who_does_not_say_so(alice: Any, queue: Any) -> None:
    first = _ask(alice)
    queue.run()
    _deliver(first)
    _lose(first)
    assert _ask(alice) != first
    queue.run()


@pytest.mark.parametrize(
    "other",
    [
        {"prompt": "a dog"},
        {"n": 2},
        {"image_size": "1K"},
        {"model": "gemini-2.5-flash-image"},
        {"references": (ReferenceInput(data=images.png()),)},
        {"seed": 7},
    ],
)
def test_another_request_joins_nothing(alice: Any, queue: Any, other: dict[str, Any]) -> None:
    first = _ask(alice)
    _lose(first)
    assert _ask(alice, AGAIN, **other) != first
    queue.run()


def test_an_alias_of_the_model_asks_for_the_same(alice: Any, queue: Any) -> None:
    first = _ask(alice, model="gemini-3-pro-image")
    _lose(first)
    assert _ask(alice, model="google/gemini-3-pro-image") == first
    queue.run()


def test_nobody_joins_what_another_key_account_or_mode_asked_for(alice: Any, make_person: Any, queue: Any) -> None:
    carol = make_person("carol", test_micros=1_000_000)
    _lose(_ask(alice))
    assert len({_ask(alice, AGAIN, mode="test"), _ask(carol, AGAIN)}) == 2
    assert Generation.objects.filter(account=carol.account).count() == 1
    queue.run()


def test_after_ten_minutes_a_request_is_a_new_one(alice: Any, queue: Any) -> None:
    first = _ask(alice)
    Generation.objects.update(created_at=datetime.now(UTC) - timedelta(hours=1))
    _lose(first)
    assert _ask(alice) == first, "it is still being made"
    queue.run()
    Generation.objects.update(finished_at=datetime.now(UTC) - timedelta(minutes=10, seconds=1))
    _lose(first)
    assert _ask(alice, AGAIN) != first
    queue.run()


def test_a_client_that_leaves_during_the_intake_has_asked_for_nothing(alice: Any) -> None:
    presence.watched().set()
    try:
        with pytest.raises(Refusal) as refused:
            _ask(alice)
    finally:
        presence._leaving.set(None)
    assert refused.value.code == "client_left"
    assert Generation.objects.count() == 0


def test_what_failed_and_was_said_is_tried_anew(alice: Any, queue: Any) -> None:
    first = _ask(alice, prompt="sandbox:refuse")
    queue.run()
    _lose(first)
    assert _ask(alice, AGAIN, prompt="sandbox:refuse") == first, "nobody was told yet"
    _deliver(first)
    assert _ask(alice, AGAIN, prompt="sandbox:refuse") != first
    queue.run()


def test_other_requests_are_never_joined(alice: Any, queue: Any) -> None:
    """The native API's and the site's clients do not wait connected, or have a key of their own."""
    first = _ask(alice, None)
    assert Generation.objects.get(pk=first).connected_until is None
    assert _ask(alice, AGAIN) != first
    queue.run()


def test_a_request_with_an_idempotency_key_goes_by_that_alone(alice: Any, queue: Any) -> None:
    asked, now = GenerationRequest(prompt="a cat"), datetime.now(UTC)
    requester = alice.requester()
    first = submission.accept(requester, asked, now=now, idempotency_key="one", joining=AGAIN).generation_id
    _lose(first)
    assert submission.accept(requester, asked, now=now, idempotency_key="two", joining=AGAIN).generation_id != first
    assert submission.accept(requester, asked, now=now, idempotency_key="one", joining=AGAIN).generation_id == first
    queue.run()


def test_of_many_that_join_at_once_each_gets_one_of_its_own(alice: Any, queue: Any) -> None:
    lost = {_ask(alice, prompt="the same") for _ in range(4)}
    for each in lost:
        _lose(each)
    found: list[uuid.UUID] = []
    together = threading.Barrier(4)

    def join() -> None:
        try:
            together.wait(10)
            found.append(_ask(alice, prompt="the same"))
        finally:
            connection.close()

    threads = [threading.Thread(target=join) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert set(found) == lost
    queue.run()


def test_presence_is_extended_ended_and_delivered(alice: Any, queue: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "_BEAT_SECONDS", 0.05)
    held, rows = Presence(), Generation.objects.all()
    first = _ask(alice)
    _lose(first)
    held.hold(first)
    held.hold(first)
    deadline = threading.Event()
    while rows.filter(presence.is_lost()).exists():
        assert not deadline.wait(0.05)
    held.leave(first)
    assert not rows.filter(presence.is_lost()).exists(), "the other client is still here"
    held.leave(first)
    assert rows.filter(presence.is_lost()).exists()
    held.hold(first)
    held.answered(first)
    row = Generation.objects.get(pk=first)
    assert row.delivered_at is not None
    assert not rows.filter(presence.is_lost()).exists()
    queue.run()
