"""What of a lone generation's time is its database's: every statement of web and worker is timed where it is made."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.installation import Installation
from benchmarks.upstream import Upstream

_HOOK = Path(__file__).resolve().parent / "tracing"
_COUNT = 200
# Every generation inserts one of these; between two of them lies what one generation has.
_BORDER = 'INSERT INTO "generation_generation"'
_EDGE = 20


def measure() -> dict[str, Any]:
    """With PostgreSQL and Redis, one request at a time; per generation. Tracing itself makes it slower."""
    with Upstream(size_bytes=50_000) as upstream:
        service = Installation(upstream, PYTHONPATH=str(_HOOK))
        with service:
            # Only the served processes are traced: the folder is there once the service is.
            service.generate(_COUNT, 1)
            latencies = service.generate(_COUNT, 1).latencies
            rows = _rows(service.folder)
            audit = service.audit()
    return {"through_p50_ms": round(median(latencies) * 1000, 2), **_shares(rows), "audit": audit}


def _rows(folder: Path) -> list[tuple[float, float, str]]:
    """(began, took, words) of every statement, in order."""
    found = []
    for path in folder.glob("*.trace"):
        for line in path.read_text(encoding="utf-8").splitlines():
            began, took, words = line.split(" ", 2)
            found.append((float(began), float(took), words))
    return sorted(found)


def _shares(rows: list[tuple[float, float, str]]) -> dict[str, Any]:
    borders = [place for place, row in enumerate(rows) if row[2].startswith(_BORDER)][_EDGE:-_EDGE]
    inside, count = rows[borders[0] : borders[-1]], len(borders) - 1
    commits = [row for row in inside if row[2] == "COMMIT"]
    longest: Counter[str] = Counter()
    for _, took, words in inside:
        longest[words] += took  # type: ignore[assignment]
    return {
        "statements": round((len(inside) - len(commits)) / count, 1),
        "statements_ms": round(sum(row[1] for row in inside if row[2] != "COMMIT") * 1000 / count, 2),
        "commits": round(len(commits) / count, 1),
        "commits_ms": round(sum(row[1] for row in commits) * 1000 / count, 2),
        "longest_ms": {words: round(took * 1000 / count, 3) for words, took in longest.most_common(12)},
    }
