"""The big drill: everything dies again and again under many prompts, and each prompt still ends once and is named.

A small one runs with the services. `NBP_DRILL=1` makes it the full one: twenty kills under two hundred prompts.
"""

from __future__ import annotations

import itertools
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest

from generation.channels.fakes.gemini import Fault, Recorded
from tests.faults.processes import PRICE, end, in_threads, until
from tests.faults.raw_rows import NAMED_FAILURES

pytestmark = [pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(1800)]


@dataclass(frozen=True)
class Size:
    """How many prompts, and how often something is killed, flushed and restarted under them."""

    prompts: int
    kills: int
    flushes: int
    restarts: int
    pause_seconds: float


SIZE = Size(200, 20, 2, 1, 4.0) if os.environ.get("NBP_DRILL") else Size(60, 5, 1, 1, 3.0)
CLIENTS = 20
# What every so-many-th call meets upstream, beside the pictures.
MISFORTUNES = ("503", "429", "truncated", "reset", "no-image", "blocked-prompt")


def _misfortunes(seed: int) -> Any:
    """Every picture takes a while; some calls end badly, the same ones for the same seed and order."""
    chance = random.Random(seed)

    def fault(_: Recorded) -> Fault:
        name = chance.choice(MISFORTUNES) if chance.random() < 0.1 else ""
        return Fault(name, latency_seconds=chance.uniform(0.5, 3.0))

    return fault


def _persistent(site: Any, prompt: str) -> str:
    """A client that sends the same request with the same key until it knows its id."""
    for pause in itertools.chain([0.2] * 20, itertools.repeat(1.0, 300)):
        try:
            answer = site.ask_for(prompt, key=prompt)
        except httpx2.TransportError:
            time.sleep(pause)
            continue
        if answer.status_code in (200, 202):
            return str(answer.json()["id"])
        assert answer.status_code == 503, answer.text
        time.sleep(pause)
    raise AssertionError(f"{prompt} was never taken")


def _ask(site: Any, answers: dict[str, str], prompts: Iterator[str], lock: threading.Lock) -> None:
    while True:
        with lock:
            prompt = next(prompts, None)
        if prompt is None:
            return
        answers[prompt] = _persistent(site, prompt)
        time.sleep(0.3)


def _plan(seed: int) -> list[str]:
    """What happens, in which order: kills of web and worker in turn, flushes and restarts among them."""
    events = [("web", "worker")[place % 2] for place in range(SIZE.kills)]
    chance = random.Random(seed)
    for what, count in (("flush", SIZE.flushes), ("restart", SIZE.restarts)):
        for _ in range(count):
            events.insert(chance.randrange(1, len(events) + 1), what)
    return events


def _happen(event: str, house: Any, redis_server: Any, postgresql: Any) -> None:
    if event == "flush":
        redis_server.client().flushall()
    elif event == "restart":
        postgresql.restart()
    elif event == "web":
        end(house.site.process)
        house.site.start()
    else:
        end(house.workers[0].process)
        house.supervise()


def test_everything_dies_again_and_again_and_each_prompt_ends_once(
    make_grown_up: Any, gemini: Any, redis_server: Any, postgresql: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = int(os.environ.get("NBP_DRILL_SEED") or time.time())
    house = make_grown_up()
    house.second()
    site = house.site
    gemini.fault_for = _misfortunes(seed)
    before = int(site.ask("GET", "wallet", mode="live").json()["available_micros"])
    prompts, answers, lock = iter([f"drill {seed} {place}" for place in range(SIZE.prompts)]), {}, threading.Lock()
    asking = threading.Thread(
        target=lambda: in_threads(CLIENTS, lambda _: _ask(site, answers, prompts, lock)), daemon=True
    )
    asking.start()
    plan = _plan(seed)
    for event in plan:
        time.sleep(SIZE.pause_seconds)
        _happen(event, house, redis_server, postgresql)
        house.supervise()
    until(lambda: house.supervise() or not asking.is_alive(), seconds=600, what="every client knows its id")
    assert len(answers) == SIZE.prompts, f"seed {seed}"
    until(lambda: house.supervise() or not site.unfinished_count(), seconds=600, what=f"all have ended, seed {seed}")
    facts = [site.rows.of(each) for each in answers.values()]
    ends = Counter(each.error_code or each.state for each in facts)
    attempts = Counter(status for each in facts for status in each.attempts)
    with capsys.disabled():
        print(
            f"\nDRILL seed {seed}: {len(answers)} prompts, {dict(Counter(plan))}, {len(gemini.requests)} upstream calls,"
            f" ends {dict(ends)}, attempts {dict(attempts)}"
        )
    assert set(ends) <= {"succeeded"} | NAMED_FAILURES, f"seed {seed}"
    assert len(set(answers.values())) == SIZE.prompts == site.rows.count("generation_generation")
    assert len(gemini.requests) <= sum(attempts.values()), f"seed {seed}: calls that no row knows of"
    site.prove()
    until(lambda: site.ask("GET", "wallet", mode="live").status_code == 200, what="no connection of the pool is dead")
    after = site.ask("GET", "wallet", mode="live").json()
    assert (after["available_micros"], after["held_micros"]) == (before - ends["succeeded"] * PRICE, 0)
    # A crash between storage and rows leaves a file that nobody knows; never more of them than calls went unanswered.
    assert len(site.strays()) <= attempts["unknown"], f"seed {seed}"
