"""What the figures should be: for each row of the table the least that will do, the goal, and what others reach."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of a row: where it stands in the results, and its bounds (most, or least with `is_least`)."""

    path: tuple[str, ...]
    must: float
    goal: float
    label: str = ""
    unit: str = ""
    is_least: bool = False

    def value(self, results: Mapping[str, Any]) -> float | None:
        """The figure, or None where it was not measured."""
        found: Any = results.get(self.path[0], {}).get("figures", {})
        for name in self.path[1:]:
            found = found.get(name) if isinstance(found, dict) else None
        return None if found is None else float(found)

    def is_within(self, bound: float, value: float) -> bool:
        return value >= bound if self.is_least else value <= bound


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table. `others` are figures of services that have no keys, no ledger and no storage."""

    title: str
    figures: tuple[Figure, ...]
    others: str = ""


def _reads() -> tuple[Figure, ...]:
    names = {
        "balance": "balance",
        "last 50 entries": "entries",
        "a month's usage by day": "usage by day",
        "a month's usage by model": "by model",
        "a month's usage by key": "by key",
        "last 50 generations": "generations",
        "admin: overview": "admin: overview",
        "admin: charges with sums": "charges and sums as the page opens (30 days)",
        "admin: charges of 30 days": "live ones since a date",
        "admin: charges of all time": "of all time",
        "admin: generations": "generations",
        "admin: entries": "entries",
        "admin: holds": "holds",
    }
    return tuple(Figure(("reads", "p50_ms", name), 100, 20, label, "ms") for name, label in names.items())


ROWS = (
    Row(
        "1,000 generations of 15 s at once, 50 KB: wall time / 15 s",
        (
            Figure(("burst", "links", "wall_ratio"), 1.6, 1.25, "links"),
            Figure(("burst", "links", "succeeded"), 1000, 1000, "done", is_least=True),
            Figure(("burst", "base64", "wall_ratio"), 1.6, 1.25, "base64"),
            Figure(("burst", "base64", "succeeded"), 1000, 1000, "done", is_least=True),
        ),
        "LiteLLM: 2.8 (OpenAI route), 42 of 500 done (Gemini route); Portkey: 1.18",
    ),
    Row(
        "most memory meanwhile, web + worker",
        (
            Figure(("burst", "links", "peak_rss_megabytes"), 500, 350, "links", "MB"),
            Figure(("burst", "base64", "peak_rss_megabytes"), 500, 350, "base64", "MB"),
        ),
        "LiteLLM 515 MB; Portkey 401 MB",
    ),
    Row(
        "CPU of web + worker per generation answered with base64, 50 KB",
        (Figure(("cpu", "50 KB", "cpu_ms_per_generation", "total"), 18, 8, unit="ms"),),
        "LiteLLM 6.9 to 10.3 ms; Portkey 2.0 to 2.7 ms",
    ),
    Row(
        "the same, 8 MB",
        (Figure(("cpu", "8 MB", "cpu_ms_per_generation", "total"), 40, 25, unit="ms"),),
        "LiteLLM 39 to 97 ms; Portkey 171 to 182 ms",
    ),
    Row(
        "added to the provider's p50, no load",
        (
            Figure(("latency", "redis", "added_p50_ms"), 25, 10, "Redis", "ms"),
            Figure(("latency", "embedded", "added_p50_ms"), 80, 45, "embedded", "ms"),
        ),
        "LiteLLM 7 to 10 ms; Portkey 1.5 ms",
    ),
    Row(
        "memory per 8 MB image in flight, 64 at once",
        (Figure(("memory", "8 MB", "megabytes_per_image"), 4, 1, unit="MB"),),
        "LiteLLM 32 to 60 MB; Portkey 15 to 31 MB",
    ),
    Row(
        "memory of the web process per 20 MB answer of another door, 32 at once",
        tuple(
            Figure(("doors", "megabytes_per_answer", door), 2, 1, label, "MB")
            for door, label in (("openai", "OpenAI"), ("gemini", "Gemini"), ("ai_gateway", "AI Gateway"))
        ),
    ),
    Row(
        "from the end of a generation to its answer at another door, p50",
        tuple(
            Figure(("doors", "after_the_end", form, door), must, must / 2, f"{label}, {form}", "ms")
            for form, must in (("redis", 20), ("embedded", 150))
            for door, label in (("openai", "OpenAI"), ("gemini", "Gemini"), ("ai_gateway", "AI Gateway"))
        ),
    ),
    Row("memory per 20 MB image / per 1.5 MB image", (Figure(("memory", "ratio_20_to_1_5"), 1.5, 1.1),)),
    Row(
        "requests a second accepted / by a minimal view",
        (Figure(("submit", "ratio"), 0.33, 0.6, is_least=True),),
    ),
    Row(
        "from accepted to started, p50",
        (
            Figure(("latency", "redis", "enqueue_to_start_p50_ms"), 10, 3, "Redis", "ms"),
            Figure(("latency", "embedded", "enqueue_to_start_p50_ms"), 60, 25, "embedded", "ms"),
        ),
    ),
    Row(
        "hold + capture a second / pgbench",
        (
            Figure(("ledger", "one_hot_wallet", "ratio"), 0.12, 0.3, "one hot wallet", is_least=True),
            Figure(("ledger", "1000_wallets", "ratio"), 0.04, 0.15, "1,000 wallets", is_least=True),
        ),
        "none has a ledger",
    ),
    Row("reads at 1,000,000 outputs, p50", _reads()),
    Row(
        "20 % of the provider's answers are 503: success of 3,000",
        (
            Figure(("faults", "busy_one_channel", "success_percent"), 99.3, 99.9, "one channel", "%", is_least=True),
            Figure(("faults", "busy_one_channel", "attempts_per_generation"), 1.35, 1.35, "calls each"),
            Figure(("faults", "busy_two_channels", "success_percent"), 99.9, 99.99, "two channels", "%", is_least=True),
        ),
        "299 to 300 of 300",
    ),
    Row(
        "30 % mixed faults (503, 429, cut off, reset): success of 3,000, the ledger exact and no hold left",
        (
            Figure(("faults", "mixed", "success_percent"), 99.0, 99.8, unit="%", is_least=True),
            Figure(("faults", "mixed", "open_holds"), 0, 0, "holds left"),
            Figure(("faults", "mixed", "charged_micros_less_captured"), 0, 0, "micros off"),
        ),
        "Portkey 90 %; LiteLLM 99.7 to 100 %, by sending calls again that were perhaps billed",
    ),
)
