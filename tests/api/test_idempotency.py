"""The same request under the same key answers the same generation, however often and however it races."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection

from accounts.ledger.models import Hold
from generation import submission
from generation.contract import GenerationRequest, ReferenceInput, Refusal
from generation.fingerprints import fingerprint
from generation.models import Charge, Generation, IdempotencyKey

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("audited")]
KEY = {"Idempotency-Key": "order-66"}


def test_a_replay_is_the_same_generation_as_it_is_now(api: Any, alice: Any, queue: Any) -> None:
    first = api(alice, "POST", "generations", {"prompt": "x"}, headers=KEY)
    queue.run()
    second = api(alice, "POST", "generations", {"prompt": "x", "n": 1}, headers=KEY)
    assert (first.status_code, second.status_code) == (202, 200)
    assert second["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first
    assert second.json()["id"] == first.json()["id"]
    assert second.json()["status"] == "succeeded"
    assert second.json()["outputs"][0]["url"]
    assert Charge.objects.count() == 1


@pytest.mark.parametrize("other", [{"prompt": "y"}, {"prompt": "x", "n": 2}, {"prompt": "x", "image_size": "1K"}])
def test_another_request_under_the_key_is_a_422(api: Any, alice: Any, queue: Any, other: dict[str, Any]) -> None:
    api(alice, "POST", "generations", {"prompt": "x"}, headers=KEY)
    response = api(alice, "POST", "generations", other, headers=KEY)
    assert (response.status_code, response.json()["error"]["code"]) == (422, "idempotency_key_reused")
    assert Generation.objects.count() == 1
    queue.run()


def test_keys_belong_to_an_account_and_a_mode(api: Any, alice: Any, make_person: Any, queue: Any) -> None:
    carol = make_person("carol", test_micros=1_000_000)
    api(alice, "POST", "generations", {"prompt": "x"}, headers=KEY)
    assert api(carol, "POST", "generations", {"prompt": "y"}, headers=KEY).status_code == 202
    assert Generation.objects.count() == 2
    queue.run()


def test_a_refusal_leaves_the_key_free(api: Any, alice: Any, queue: Any) -> None:
    assert api(alice, "POST", "generations", {"prompt": ""}, headers=KEY).status_code == 400
    assert api(alice, "POST", "generations", {"prompt": "x"}, headers=KEY).status_code == 202
    queue.run()


def test_a_key_lives_seven_days(api: Any, alice: Any, queue: Any) -> None:
    first = api(alice, "POST", "generations", {"prompt": "x"}, headers=KEY).json()
    IdempotencyKey.objects.update(created_at=datetime.now(UTC) - timedelta(days=7, seconds=1))
    second = api(alice, "POST", "generations", {"prompt": "y"}, headers=KEY)
    assert second.status_code == 202
    assert second.json()["id"] != first["id"]
    queue.run()


@pytest.mark.parametrize("bad", ["x" * 256, "caf\u00e9".encode().decode("latin-1")])
def test_a_bad_key_is_a_400(api: Any, alice: Any, bad: str) -> None:
    response = api(alice, "POST", "generations", {"prompt": "x"}, headers={"Idempotency-Key": bad})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "Idempotency-Key")


@pytest.mark.parametrize("micros", [100_000_000, 147_400], ids=["plenty", "money for one"])
def test_the_same_request_raced_is_one_generation(make_person: Any, queue: Any, micros: int) -> None:
    requester = make_person("racer", test_micros=micros).requester()
    ids: list[Any] = []

    def accept() -> None:
        try:
            accepted = submission.accept(
                requester, GenerationRequest(prompt="race"), now=datetime.now(UTC), idempotency_key="one"
            )
            ids.append(accepted.generation_id)
        finally:
            connection.close()

    threads = [threading.Thread(target=accept) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 12
    assert len(set(ids)) == 1
    assert (Generation.objects.count(), Hold.objects.count()) == (1, 1)
    queue.run()
    assert Charge.objects.count() == 1


def test_many_racing_for_money_for_seven(make_person: Any, queue: Any) -> None:
    person = make_person("erin", test_micros=7 * 147_400)
    results: list[str] = []

    def accept() -> None:
        try:
            submission.accept(person.requester(), GenerationRequest(prompt="race"), now=datetime.now(UTC))
            results.append("accepted")
        except Refusal as refusal:
            results.append(refusal.code)
        finally:
            connection.close()

    threads = [threading.Thread(target=accept) for _ in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == ["accepted"] * 7 + ["insufficient_credit"] * 23
    queue.run()
    assert Charge.objects.count() == 7


def test_what_makes_two_requests_the_same() -> None:
    plain = GenerationRequest(prompt="x")
    assert fingerprint(plain, "m") == fingerprint(GenerationRequest(prompt="x", model="alias"), "m")
    different = [
        GenerationRequest(prompt="x "),
        GenerationRequest(prompt="x", n=2),
        GenerationRequest(prompt="x", seed=0),
        GenerationRequest(prompt="x", search_grounding=True),
        GenerationRequest(prompt="x", tags=("a",)),
        GenerationRequest(prompt="x", metadata={"a": "b"}),
        GenerationRequest(prompt="x", references=(ReferenceInput(data=b"1"),)),
        GenerationRequest(prompt="x", references=(ReferenceInput(data=b"2"),)),
        GenerationRequest(prompt="x", references=(ReferenceInput(data=b"1", role="style"),)),
        GenerationRequest(prompt="x", references=(ReferenceInput(url="http://a.example"),)),
    ]
    prints = [fingerprint(each, "m") for each in (plain, *different)] + [fingerprint(plain, "other")]
    assert len(set(prints)) == len(prints)
