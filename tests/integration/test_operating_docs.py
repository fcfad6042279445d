"""The page on monitoring names the metrics there are, and its examples name no others."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY

from nbp_site.operating import gauges, health

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
OPERATING = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")


def _table() -> dict[str, set[str]]:
    """Metrics of the page, with their labels."""
    rows = re.findall(r"^\| `(nbp_\w+)` \|([^|]*)\|", PAGE, re.MULTILINE)
    return {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}


def _counted() -> dict[str, set[str]]:
    """Metrics of this process, with their labels."""
    found = {}
    for collector in list(REGISTRY._collector_to_names):
        name, kind = getattr(collector, "_name", ""), getattr(collector, "_type", "")
        if name.startswith("nbp_"):
            found[name + ("_total" if kind == "counter" else "")] = set(collector._labelnames)  # type: ignore[attr-defined]
    return found


@pytest.mark.django_db
def test_the_table_of_metrics_is_complete() -> None:
    from datetime import UTC, datetime

    from generation.channels.models import Channel
    from nbp_site.models import WorkerProbe
    from nbp_site.operating import request_log

    assert request_log.logger
    now = datetime.now(UTC)
    Channel.objects.update(balance_micros=1)
    WorkerProbe.objects.create(name="w", host="h", pid=1, started_at=now, seen_at=now)
    from_database = {
        family.name: {label for sample in family.samples for label in sample.labels} for family in gauges._ask()
    }
    assert len(from_database) > 8
    assert _table() == _counted() | from_database


def _blocks(language: str) -> list[Any]:
    return [yaml.safe_load(text) for text in re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)]


def test_the_alerts_name_metrics_and_labels_that_exist() -> None:
    _, alerts, _ = _blocks("yaml")
    table = _table()
    [group] = alerts["groups"]
    assert len(group["rules"]) > 7
    for rule in group["rules"]:
        assert rule["annotations"]["summary"]
        for name, matchers in re.findall(r"(nbp_\w+)(?:\{([^}]*)\})?", rule["expr"]):
            assert name in table, rule["alert"]
            assert set(re.findall(r"(\w+)[!=]~?=?\"", matchers)) <= table[name], rule["alert"]
        for labels in re.findall(r"by \(([^)]*)\)", rule["expr"]):
            assert set(labels.split(", ")) <= set().union(*table.values())


def test_the_collectors_pipelines_name_what_is_configured() -> None:
    collector = _blocks("yaml")[2]
    for pipeline in collector["service"]["pipelines"].values():
        for kind in ("receivers", "processors", "exporters"):
            assert set(pipeline[kind]) <= set(collector[kind])
    assert set(collector["service"]["extensions"]) == set(collector["extensions"])


def test_the_table_of_checks_is_complete() -> None:
    section = OPERATING.partition("## Health")[2].partition("## Logs")[0]
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\| (\w+)", section, re.MULTILINE)
    checks = [check for group in health._GROUPS for check in group]
    assert sorted(rows) == sorted((each.name, "unready" if each.is_required else "degraded") for each in checks)
