"""The benchmarks' own arithmetic: what they say about a run is what the run was."""

from __future__ import annotations

import asyncio
import importlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks import report
from benchmarks.__main__ import NAMES
from benchmarks.load import Client, Plan
from benchmarks.targets import ROWS, Figure, Row
from benchmarks.upstream import Mix
from generation.channels.fakes.gemini import FakeGemini, Fault

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
RATIO = Row("ratio", (Figure(("one", "ratio"), must=0.3, goal=0.6, is_least=True), Figure(("one", "ms"), 20, 10)))


def _results(**figures: float) -> dict[str, Any]:
    return {"one": {"figures": figures}}


def test_the_documents_figures_are_those_of_the_kept_results() -> None:
    results = json.loads(report.RESULTS.read_text(encoding="utf-8"))
    assert report.replaced(DOCUMENT, results) == DOCUMENT


@pytest.mark.parametrize(
    ("figures", "verdict"),
    [
        ({"ratio": 0.6, "ms": 10}, "goal"),
        ({"ratio": 0.59, "ms": 10}, "must"),
        ({"ratio": 0.6, "ms": 20.1}, "**missed**"),
        ({"ratio": 0.29, "ms": 1}, "**missed**"),
        ({"ratio": 0.9}, ""),
        ({"ratio": 0.0, "ms": 0}, "**missed**"),
    ],
)
def test_the_worst_figure_of_a_row_decides(figures: dict[str, float], verdict: str) -> None:
    assert report.verdict(RATIO, _results(**figures)) == verdict


def test_every_benchmark_is_measured_documented_and_has_a_row() -> None:
    documented = re.findall(r"^\| `(\w+)` \|", DOCUMENT, re.MULTILINE)
    assert tuple(documented) == NAMES
    assert {figure.path[0] for row in ROWS for figure in row.figures} == set(NAMES) - {"trace"}
    for name in NAMES:
        assert callable(importlib.import_module(f"benchmarks.{name}").measure)


def test_faults_come_by_their_shares() -> None:
    mix = Mix()
    mix.shares = {"503": 0.2, "reset": 0.1}
    for _ in range(10_000):
        mix.pick()
    assert mix.counts["503"] == pytest.approx(2000, rel=0.1)
    assert mix.counts["reset"] == pytest.approx(1000, rel=0.1)
    assert sum(mix.counts.values()) == 10_000


def test_the_load_generator_tells_good_answers_from_others() -> None:
    contents = [{"role": "user", "parts": [{"text": "number {number}"}]}]
    body = {"contents": contents, "generationConfig": {"responseModalities": ["TEXT", "IMAGE"]}}
    with FakeGemini(cached=True, size_bytes=200_000) as fake:
        fake.script.extend([None, Fault("503"), Fault("reset")])
        plan = Plan(
            port=int(fake.base_url.rsplit(":", 1)[1]),
            target="/v1beta/models/gemini-3-pro-image:generateContent",
            headers={"x-goog-api-key": "a-made-up-key"},
            body=json.dumps(body),
            count=5,
            concurrency=1,
            expected="inlineData",
        )
        seen = asyncio.run(Client(plan).run())
        prompts = [each.body["contents"][0]["parts"][0]["text"] for each in fake.requests]
    assert prompts == [f"number {number}" for number in range(5)]
    assert (seen.good_count, seen.statuses) == (3, {"200": 3, "503": 1, "ConnectionResetError": 1})
    assert seen.byte_count > 3 * 200_000
    assert any("overloaded" in each for each in seen.bad)
