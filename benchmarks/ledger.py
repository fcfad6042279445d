"""Pairs of hold and capture a second, beside PostgreSQL's own pgbench doing two transactions of UPDATE and INSERT."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from statistics import median
from typing import Any

import psycopg

from benchmarks import databases
from benchmarks.installation import Installation
from benchmarks.processes import plain_environment, python, run
from benchmarks.upstream import Upstream

_THREADS = 16
_SECONDS = 8.0
_ROUNDS = 3
_WALLETS = {"one_hot_wallet": 1, "1000_wallets": 1000}
_TABLES = """
CREATE TABLE bench_wallet (id int PRIMARY KEY, available bigint NOT NULL, held bigint NOT NULL);
CREATE TABLE bench_entry (id bigserial PRIMARY KEY, wallet int NOT NULL, kind text NOT NULL, amount bigint NOT NULL);
INSERT INTO bench_wallet SELECT number, 1000000000000, 0 FROM generate_series(1, 1000) AS number;
"""
_SCRIPT = """\\set wallet random(1, {wallets})
BEGIN;
UPDATE bench_wallet SET available = available - 134, held = held + 134 WHERE id = :wallet AND available >= 134;
INSERT INTO bench_entry (wallet, kind, amount) VALUES (:wallet, 'hold', 134);
END;
BEGIN;
UPDATE bench_wallet SET held = held - 134 WHERE id = :wallet;
INSERT INTO bench_entry (wallet, kind, amount) VALUES (:wallet, 'capture', 134);
END;
"""


def measure() -> dict[str, Any]:
    """Rounds of both take turns on the same server and database."""
    program = _pgbench()
    with Upstream(size_bytes=0) as upstream, Installation(upstream, is_served=False) as service:
        url = service.environment["DATABASE_URL"]
        with psycopg.connect(url) as connection:
            connection.execute(_TABLES)
        _ours(service, "prepare", wallets=1000)
        figures = {name: _of(service, program, wallets) for name, wallets in _WALLETS.items()}
        return {"threads": _THREADS, **figures, "audit": service.audit(exempt="I11: a hold has its output")}


def _of(service: Installation, program: str, wallets: int) -> dict[str, Any]:
    script = service.folder / f"pair-{wallets}.sql"
    script.write_text(_SCRIPT.format(wallets=wallets), encoding="utf-8")
    ours, theirs = [], []
    for _ in range(_ROUNDS):
        said = _ours(service, "measure", "--threads", str(_THREADS), "--seconds", str(_SECONDS), wallets=wallets)
        ours.append(float(said.split()[-1]))
        theirs.append(_pgbench_rate(program, script, service.environment["DATABASE_URL"]))
    return {
        "pairs_per_second": median(ours),
        "pgbench_pairs_per_second": median(theirs),
        "ratio": round(median(a / b for a, b in zip(ours, theirs, strict=True)), 3),
    }


def _ours(service: Installation, *arguments: str, wallets: int) -> str:
    command = python("-m", "benchmarks.ledger_pairs", *arguments, "--wallets", str(wallets))
    return run(command, environment=service.environment, profiled_as="ledger" if arguments[0] == "measure" else "")


def _pgbench() -> str:
    found = shutil.which("pgbench")
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin/pgbench"), key=lambda path: int(path.parts[4]))
    if not found and not places:
        raise databases.Missing("pgbench is not installed (it comes with PostgreSQL's server package).")
    return found or str(places[-1])


def _pgbench_rate(program: str, script: Path, url: str) -> float:
    command = [program, "-n", "-c", str(_THREADS), "-j", "2", "-T", f"{_SECONDS:.0f}", "-f", str(script), url]
    said = run(command, environment=plain_environment())
    match = re.search(r"^tps = ([0-9.]+)", said, re.MULTILINE)
    if match is None:
        raise RuntimeError(f"pgbench did not say how fast it was: {said}")
    return round(float(match[1]), 1)
