"""Answers that hold for a moment."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest

from accounts.remembered import Remembered
from generation import catalog
from generation.contract import Refusal
from generation.models import ImageModel, Price


def test_an_answer_holds_for_its_time_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    clock = [100.0]
    monkeypatch.setattr("accounts.remembered.time.monotonic", lambda: clock[0])

    def look(key: str) -> int:
        asked.append(key)
        return len(asked)

    memory = Remembered(look, seconds=lambda: 2.0)
    assert (memory.get("a"), memory.get("a"), memory.get("b")) == (1, 1, 2)
    clock[0] += 2.1
    assert memory.get("a") == 3
    memory.forget()
    assert memory.get("b") == 4


def test_without_a_time_nothing_is_remembered_and_strangers_names_do_not_pile_up() -> None:
    assert not Remembered(len, seconds=lambda: 0.0)._answers
    memory = Remembered(len, seconds=lambda: 60.0)
    for number in range(5000):
        memory.get(str(number))
    assert len(memory._answers) <= 1000


def test_one_looks_anew_while_the_others_go_by_the_old_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("accounts.remembered.time.monotonic", lambda: clock[0])
    begun, may_end, looks = threading.Event(), threading.Event(), []

    def look(key: str) -> int:
        looks.append(key)
        if len(looks) == 2:
            begun.set()
            assert may_end.wait(timeout=10)
        return len(looks)

    memory = Remembered(look, seconds=lambda: 2.0)
    assert memory.get("a") == 1
    clock[0] += 3
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(memory.get, "a")
        assert begun.wait(timeout=10)
        assert [memory.get("a") for _ in range(50)] == [1] * 50
        clock[0] += 2
        assert memory.get("a") == 3, "the old answer is too old by now"
        may_end.set()
        assert slow.result(timeout=10) in (2, 3)
    assert looks == ["a"] * 3


def test_a_look_that_fails_leaves_the_next_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("accounts.remembered.time.monotonic", lambda: clock[0])
    answers: list[Any] = [1, OSError("away"), 2]

    def look(_: str) -> int:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return int(answer)

    memory = Remembered(look, seconds=lambda: 2.0)
    assert memory.get("a") == 1
    clock[0] += 3
    with pytest.raises(OSError, match="away"):
        memory.get("a")
    assert memory.get("a") == 2


def test_what_was_looked_up_before_it_was_forgotten_is_not_remembered() -> None:
    memory: Remembered[str, int] = Remembered(lambda key: _forgetful(key), seconds=lambda: 60.0)
    looks: list[str] = []

    def _forgetful(key: str) -> int:
        looks.append(key)
        if len(looks) == 1:
            memory.forget()
        return len(looks)

    assert [memory.get("a"), memory.get("a"), memory.get("a")] == [1, 2, 2]


@pytest.mark.django_db
def test_a_price_the_operator_sets_holds_at_once_in_this_process(settings: Any) -> None:
    settings.NBP_CATALOGUE_SECONDS = 60
    now = datetime.now(UTC)
    model = ImageModel.objects.get(is_default=True)
    before = catalog.required_price(model, "1K", at=now)
    new = Price.objects.get(pk=before.pk)
    new.pk, new.valid_from, new.image_micros = None, now, before.image_micros + 1
    new.save()
    assert catalog.required_price(model, "1K", at=now).image_micros == before.image_micros + 1
    assert catalog.find("", now=now).image_model == model
    model.is_enabled = False
    model.save()
    with pytest.raises(Refusal):
        catalog.find("", now=now)
    catalog.forget()
