"""Answers that hold for a moment."""

from __future__ import annotations

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
    assert not Remembered(len, seconds=lambda: 0.0)._kept
    memory = Remembered(len, seconds=lambda: 60.0)
    for number in range(5000):
        memory.get(str(number))
    assert len(memory._kept) <= 1000


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
