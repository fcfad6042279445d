"""Each end of an attempt and of an output is counted once and said in one line, with its own ids."""

from __future__ import annotations

import logging
import subprocess
import sys
from typing import Any

import pytest
from django.test import Client
from prometheus_client import REGISTRY

pytestmark = pytest.mark.django_db(transaction=True)
MODEL = "gemini-3-pro-image"
ROAD = {"channel": "sandbox", "model": MODEL, "mode": "test"}


def _value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


class Since:
    """How much a series has grown since this was made."""

    def __init__(self, *series: tuple[str, dict[str, str]]) -> None:
        self.series = series
        self.before = [_value(name, **labels) for name, labels in series]

    def grown(self) -> list[float]:
        return [
            _value(name, **labels) - before for (name, labels), before in zip(self.series, self.before, strict=True)
        ]


def _create(person: Any, prompt: str, **fields: Any) -> dict[str, Any]:
    body = {"prompt": prompt, "image_size": "1K"} | fields
    answer = Client().post("/api/v1/generations", body, headers=person.headers(), content_type="application/json")
    return dict(answer.json())


def _lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.name == "generation.measurements"]


def test_a_delivered_image_is_counted_with_price_and_cost(alice: Any, queue: Any) -> None:
    since = Since(
        ("nbp_images_total", ROAD | {"size": "1K"}),
        ("nbp_price_micros_total", ROAD),
        ("nbp_upstream_calls_total", ROAD | {"result": "ok"}),
        ("nbp_upstream_seconds_count", {"channel": "sandbox", "model": MODEL}),
        ("nbp_outputs_ended_total", {"mode": "test", "state": "succeeded", "code": ""}),
    )
    _create(alice, "two of them", n=2)
    queue.run_to_the_end()
    assert since.grown() == [2, 2 * 147_400, 2, 2, 2]


def test_errors_are_counted_by_kind_and_the_image_once(alice: Any, queue: Any) -> None:
    since = Since(
        ("nbp_upstream_calls_total", ROAD | {"result": "busy"}),
        ("nbp_upstream_calls_total", ROAD | {"result": "unknown"}),
        ("nbp_upstream_calls_total", ROAD | {"result": "ok"}),
        ("nbp_images_total", ROAD | {"size": "1K"}),
    )
    _create(alice, "sandbox:503:2 sandbox:lost:3 a boat")
    queue.run_to_the_end()
    assert since.grown() == [2, 1, 1, 1]


@pytest.mark.parametrize(
    ("prompt", "result", "code"),
    [
        ("sandbox:refuse", "refused", "content_refused"),
        ("sandbox:no-image", "no_image", "no_image"),
        ("sandbox:rejected", "rejected", "upstream_rejected"),
    ],
)
def test_a_failure_is_counted_by_its_code(alice: Any, queue: Any, prompt: str, result: str, code: str) -> None:
    since = Since(
        ("nbp_upstream_calls_total", ROAD | {"result": result}),
        ("nbp_outputs_ended_total", {"mode": "test", "state": "failed", "code": code}),
        ("nbp_price_micros_total", ROAD),
    )
    _create(alice, prompt)
    queue.run_to_the_end()
    assert since.grown() == [1, 1, 0]


def test_a_canceled_output_is_counted(alice: Any, queue: Any) -> None:
    since = Since(("nbp_outputs_ended_total", {"mode": "test", "state": "canceled", "code": "canceled"}))
    made = _create(alice, "never mind")
    Client().post(f"/api/v1/generations/{made['id']}/cancel", headers=alice.headers())
    assert since.grown() == [1]


def test_each_end_is_one_line_with_its_own_ids(alice: Any, queue: Any, caplog: pytest.LogCaptureFixture) -> None:
    from nbp_site.operating.logs import InHand

    caplog.set_level(logging.INFO)
    caplog.handler.addFilter(InHand())
    made = _create(alice, "a very private prompt sandbox:503:1")
    caplog.clear()
    queue.run_to_the_end()
    records = [each for each in caplog.records if each.name == "generation.measurements"]
    output = made["outputs"][0]["id"]
    assert [each.in_hand for each in records] == [  # type: ignore[attr-defined]
        {"output": output, "attempt": "1"},
        {"output": output, "attempt": "2"},
        {"generation": made["id"], "output": output},
    ]
    assert [each.facts.get("result") for each in records] == ["busy", "ok", None]  # type: ignore[attr-defined]
    assert "private prompt" not in caplog.text + repr([each.__dict__ for each in records])


@pytest.mark.parametrize("mode", ["live", "test"])
def test_the_count_that_an_alert_waits_for_begins_at_zero_and_not_with_the_first_fault(mode: str) -> None:
    labels = {"mode": mode, "state": "failed", "code": "internal_error"}
    ask = f"print(REGISTRY.get_sample_value('nbp_outputs_ended_total', {labels}))"
    code = f"import generation.measurements\nfrom prometheus_client import REGISTRY\n{ask}"
    # A process of its own: here other tests may have counted one.
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0.0"
