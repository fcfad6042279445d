"""`python -m benchmarks.report [results.json]`: writes the table of docs/performance.md; nobody writes it by hand."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.processes import ROOT
from benchmarks.targets import ROWS, Figure, Row

DOCUMENT = ROOT / "docs" / "performance.md"
RESULTS = ROOT / "benchmarks" / "results.json"
BEGIN, END = "<!-- figures: written by python -m benchmarks.report -->", "<!-- end of the figures -->"


def main() -> None:
    """Without a file, from the results that are kept; with one, keep it as those results first."""
    if len(sys.argv) > 1:
        results = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    text = DOCUMENT.read_text(encoding="utf-8")
    DOCUMENT.write_text(replaced(text, json.loads(RESULTS.read_text(encoding="utf-8"))), encoding="utf-8")


def replaced(text: str, results: Mapping[str, Any]) -> str:
    """The document with the table of these results between its marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    notes = [*bare_work(results), *database_share(results), *machines(results)]
    return "\n".join([before + BEGIN, "", *table(results), "", *notes, "", END + after])


def table(results: Mapping[str, Any]) -> Iterator[str]:
    """The lines of the table."""
    yield "| what | measured | | must | goal | others, without keys, ledger and storage |"
    yield "|---|---|---|---|---|---|"
    for row in ROWS:
        cells = [row.title, _measured(row, results), verdict(row, results), _bounds(row, "must"), _bounds(row, "goal")]
        yield "| " + " | ".join([*cells, row.others or "-"]) + " |"


def verdict(row: Row, results: Mapping[str, Any]) -> str:
    """How good the row is as a whole: its worst figure decides."""
    values = [(figure, figure.value(results)) for figure in row.figures]
    if any(value is None for _, value in values):
        return ""
    for name in ("goal", "must"):
        if all(figure.is_within(getattr(figure, name), value) for figure, value in values if value is not None):
            return name
    return "**missed**"


def _measured(row: Row, results: Mapping[str, Any]) -> str:
    if all(figure.value(results) is None for figure in row.figures):
        return "not measured"
    return "; ".join(_worded(figure, figure.value(results)) for figure in row.figures)


def _worded(figure: Figure, value: float | None) -> str:
    number = "not measured" if value is None else f"{value:g}{f' {figure.unit}' if figure.unit else ''}"
    return f"{figure.label} {number}" if figure.label else number


def _bounds(row: Row, name: str) -> str:
    """Bounds that are the same for all figures of a row are said once."""
    return "; ".join(dict.fromkeys(_bound(figure, getattr(figure, name)) for figure in row.figures))


def _bound(figure: Figure, bound: float) -> str:
    return f"{'>=' if figure.is_least else '<='} {bound:g}{f' {figure.unit}' if figure.unit else ''}"


def bare_work(results: Mapping[str, Any]) -> Iterator[str]:
    """How much of the CPU is the image's own, whoever carries it."""
    for size in ("50 KB", "8 MB"):
        milliseconds = results.get("cpu", {}).get("figures", {}).get(size, {}).get("bare_work_ms")
        if milliseconds is not None:
            yield f"The bare steps of carrying one image of {size}, in one process, took {milliseconds:g} ms of CPU."


def database_share(results: Mapping[str, Any]) -> Iterator[str]:
    """What of a lone generation's time goes to its database."""
    figures = results.get("trace", {}).get("figures")
    if figures:
        yield (
            f"Of the {figures['through_p50_ms']:g} ms that a lone generation took in a traced run, "
            f"{figures['statements']:g} statements took {figures['statements_ms']:g} ms and "
            f"{figures['commits']:g} commits {figures['commits_ms']:g} ms, as seen from Python."
        )


def machines(results: Mapping[str, Any]) -> Iterator[str]:
    """One sentence for each machine and set of versions that figures of the table come from."""
    said: dict[str, list[str]] = {}
    for name, result in results.items():
        said.setdefault(_machine(result["machine"]), []).append(name)
    for words, names in said.items():
        loads = ", ".join(f"{name} {results[name]['machine']['load_average_at_start']:g}" for name in names)
        yield f"Measured with {words}. Load average at the start: {loads}."


def _machine(facts: Mapping[str, Any]) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in facts["packages"].items())
    services = f"PostgreSQL {facts['postgresql'].split()[0]}, Redis {facts['redis']}"
    day = facts["measured_at"].partition("T")[0]
    return f"{facts['cores']} cores ({facts['processor']}), Python {facts['python']}, {packages}, {services}, on {day}"


if __name__ == "__main__":
    main()
