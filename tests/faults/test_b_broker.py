"""Fault catalogue B: a broker that forgets, doubles, delays, reorders, restarts or brings rubbish. It is only a bell."""

from __future__ import annotations

import base64
import json
import os
import time
from typing import Any

import pytest
from kombu import Connection

from tests.faults.processes import in_threads, until
from tests.faults.raw_rows import Facts
from tests.services import is_open

pytestmark = [pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(600)]
# No worker dies here: a lease that a busy machine cannot break keeps the number of calls exact.
ENVIRONMENT = {"NBP_LEASE_SECONDS": "30"}
QUEUE = "generation"
WELL = Facts("succeeded", "", ("ok",), 1, 1, 1, "captured", 1)


def _ask_many(house: Any, count: int) -> list[str]:
    return in_threads(count, lambda place: house.site.accepted(f"prompt {place} {time.time_ns()}"))


def _all_well(house: Any, asked: list[str]) -> None:
    """Each prompt is one call, one image and one charge, and nothing else has happened."""
    assert [house.site.rows.of(each) for each in asked] == [WELL] * len(asked)
    house.site.prove()


def _waiting(broker: Any) -> list[bytes]:
    return list(broker.lrange(QUEUE, 0, -1))


def test_b1_a_queue_that_is_emptied_again_and_again_loses_no_prompt(
    grown_up: Any, redis_server: Any, gemini: Any
) -> None:
    gemini.latency_seconds = 0.5
    grown_up.start()
    broker, asked = redis_server.client(), []
    for _ in range(4):
        asked += _ask_many(grown_up, 10)
        broker.flushall()
    grown_up.site.all_ended()
    assert len(gemini.requests) == 40
    _all_well(grown_up, asked)


def test_b2_prompts_are_accepted_while_the_broker_is_down_and_run_when_it_is_back(
    grown_up: Any, redis_server: Any, gemini: Any
) -> None:
    grown_up.start()
    redis_server.stop()
    try:
        asked = _ask_many(grown_up, 10)
    finally:
        redis_server.start()
    until(lambda: grown_up.supervise() or not grown_up.site.unfinished_count(), seconds=120)
    assert len(gemini.requests) == 10
    _all_well(grown_up, asked)


def test_b3_every_message_three_times_is_one_call_and_one_charge(grown_up: Any, redis_server: Any, gemini: Any) -> None:
    grown_up.start()
    grown_up.dismiss()
    asked, broker = _ask_many(grown_up, 10), redis_server.client()
    messages = _waiting(broker)
    assert len(messages) == 10
    broker.rpush(QUEUE, *messages, *messages)
    grown_up.worker()
    grown_up.worker()
    grown_up.site.all_ended()
    until(lambda: not _waiting(broker), what="every message was taken")
    assert len(gemini.requests) == 10
    _all_well(grown_up, asked)


def _without_expiry(message: bytes) -> bytes:
    """The same message as one that never becomes stale, so that only the rows can tell."""
    known = json.loads(message)
    known["headers"]["expires"] = None
    return json.dumps(known).encode()


def test_b4_ancient_messages_in_another_order_change_nothing(grown_up: Any, redis_server: Any, gemini: Any) -> None:
    grown_up.start()
    grown_up.dismiss()
    asked, broker = _ask_many(grown_up, 10), redis_server.client()
    messages = _waiting(broker)
    grown_up.worker()
    grown_up.site.all_ended()
    entries = grown_up.site.rows.count("ledger_entry")
    broker.rpush(QUEUE, *reversed([_without_expiry(message) for message in messages]))
    until(lambda: not _waiting(broker), what="every message was taken")
    # One more prompt after them: when it has ended, they have been worked off.
    later = grown_up.site.accepted(f"later {time.time_ns()}")
    assert grown_up.site.ended(later)["status"] == "succeeded"
    assert len(gemini.requests) == 11
    assert grown_up.site.rows.count("ledger_entry") == entries + 2
    _all_well(grown_up, [*asked, later])


def test_b5_a_broker_that_restarts_twice_under_fifty_prompts_costs_seconds(
    grown_up: Any, redis_server: Any, gemini: Any
) -> None:
    """A worker that stops listening after a reconnect would leave prompts in the queue for good."""
    gemini.latency_seconds = 0.5
    grown_up.start()
    grown_up.second()
    asked: list[str] = []
    for group in range(5):
        asked += _ask_many(grown_up, 10)
        if group in (1, 3):
            redis_server.restart()
    until(lambda: grown_up.supervise() or not grown_up.site.unfinished_count(), seconds=120)
    assert len(gemini.requests) == 50
    _all_well(grown_up, asked)
    # And both listen as before: messages do not pile up.
    again = _ask_many(grown_up, 4)
    assert [grown_up.site.ended(each, seconds=60)["status"] for each in again] == ["succeeded"] * 4


def test_b6_a_message_given_away_again_while_its_task_runs_is_no_second_call(make_grown_up: Any, gemini: Any) -> None:
    """The visibility timeout of Redis, a second instead of minutes, under late acknowledgement."""
    gemini.latency_seconds = 8.0
    house = make_grown_up(FAULT_VISIBILITY_SECONDS="1", **ENVIRONMENT)
    house.second()
    asked = _ask_many(house, 6)
    house.site.all_ended()
    assert len(gemini.requests) == 6
    _all_well(house, asked)


def _envelope(task: str, body: bytes, **properties: str) -> bytes:
    """A message as Celery's Redis transport keeps it."""
    tag = f"{task}-{time.time_ns()}"
    headers = {"lang": "py", "task": task, "id": tag, "root_id": tag, "argsrepr": "()", "kwargsrepr": "{}"}
    delivery = {"exchange": "", "routing_key": QUEUE}
    known = {"delivery_mode": 2, "delivery_info": delivery, "priority": 0, "body_encoding": "base64"}
    message = {
        "body": base64.b64encode(body).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": headers,
        "properties": known | {"delivery_tag": tag} | properties,
    }
    return json.dumps(message).encode()


def _call(**kwargs: object) -> bytes:
    return json.dumps([[], kwargs, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]).encode()


POISON = {
    "no JSON in the body": _envelope("generation.run_output", b"{broken"),
    "a body of another shape": _envelope("generation.run_output", b'"text"'),
    "a task nobody knows": _envelope("generation.format_disk", _call()),
    "no argument": _envelope("generation.run_output", _call()),
    "an id that is none": _envelope("generation.run_output", _call(output_id="nonsense")),
    "an id that is a number": _envelope("generation.run_output", _call(output_id=7)),
    "an output that does not exist": _envelope(
        "generation.run_output", _call(output_id="01890000-0000-7000-8000-000000000000")
    ),
    "a body that is no base64": json.dumps({**json.loads(_envelope("x", b"")), "body": "!"}).encode(),
    "no envelope": b"{}",
}
# What no client of a queue ever writes: the transport itself breaks over it, below anything of ours.
RUBBISH = {"no JSON at all": b"\x00\xff garbage", "a number": b"7"}


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON)
def test_b7_a_poisoned_message_is_dropped_and_the_queue_goes_on(
    grown_up: Any, redis_server: Any, gemini: Any, poison: bytes
) -> None:
    if not grown_up.workers:
        grown_up.start()
    broker, worker = redis_server.client(), grown_up.workers[0]
    broker.rpush(QUEUE, poison, poison)
    asked = _ask_many(grown_up, 3)
    grown_up.site.all_ended(seconds=60)
    until(lambda: not _waiting(broker), what="the queue is empty")
    assert worker.process.poll() is None, worker.log
    assert len(gemini.requests) == 3
    _all_well(grown_up, asked)


@pytest.mark.parametrize("rubbish", RUBBISH.values(), ids=RUBBISH)
def test_b7_rubbish_in_the_queue_ends_a_worker_at_most_once(
    grown_up: Any, redis_server: Any, gemini: Any, rubbish: bytes
) -> None:
    grown_up.start()
    redis_server.client().rpush(QUEUE, rubbish)
    asked = _ask_many(grown_up, 3)
    until(lambda: grown_up.supervise() or not grown_up.site.unfinished_count(), seconds=120)
    worker = grown_up.workers[0]
    again = _ask_many(grown_up, 3)
    grown_up.site.all_ended(seconds=60)
    assert worker.process.poll() is None, worker.log
    assert len(gemini.requests) == 6
    _all_well(grown_up, asked + again)


def test_b1_b3_b7_rabbitmq_emptied_doubled_and_poisoned(make_grown_up: Any, gemini: Any) -> None:
    url = os.environ.get("NBP_TEST_RABBITMQ_URL", "")
    if not url or not is_open(url):
        pytest.skip("SKIPPED LOUDLY: no RabbitMQ listens at NBP_TEST_RABBITMQ_URL")
    gemini.latency_seconds = 0.5
    queue = f"nbp-faults-{time.time_ns()}"
    house = make_grown_up(CELERY_BROKER_URL=url, FAULT_QUEUE=queue, **ENVIRONMENT)
    with Connection(url) as broker:
        try:
            asked = _ask_many(house, 10)
            broker.default_channel.queue_purge(queue)
            producer = broker.Producer(routing_key=queue, serializer="json")
            producer.publish(b"{broken", content_type="application/json", content_encoding="utf-8")
            producer.publish([[], {}, {}], headers={"task": "generation.format_disk", "id": "1", "lang": "py"})
            for _ in range(3):
                for place in range(10):
                    key = house.site.rows.key(asked[place])
                    output = house.site.rows.one("SELECT id FROM generation_output WHERE generation_id = ?", key)
                    headers = {"task": "generation.run_output", "id": f"{place}", "lang": "py"}
                    producer.publish([[], {"output_id": str(output)}, {}], headers=headers)
            asked += _ask_many(house, 5)
            house.site.all_ended()
            assert len(gemini.requests) == 15
            assert house.workers[0].process.poll() is None
            _all_well(house, asked)
        finally:
            house.dismiss()
            broker.default_channel.queue_delete(queue)
