"""A service's database read behind its back, with plain SQL, and what must be true of it when everything has ended."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from accounts.identifiers import parse_public_id

FINAL = {"succeeded", "failed", "canceled"}
# What an output may fail of; anything else is a failure without a name.
NAMED_FAILURES = {
    "content_refused",
    "no_image",
    "upstream_no_answer",
    "upstream_rejected",
    "upstream_unavailable",
    "internal_error",
}


@dataclass(frozen=True)
class Facts:
    """All rows of one generation with one output: its state, and what hangs on it."""

    state: str
    error_code: str
    attempts: tuple[str, ...]
    delivered_count: int
    charge_count: int
    image_count: int
    hold: str
    capture_count: int


class RawRows:
    """`url` is a PostgreSQL URL, or the path of an SQLite file."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.is_postgresql = url.startswith("postgres")

    def all(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """The rows of a query; `?` stands for a value on both databases."""
        if self.is_postgresql:
            with psycopg.connect(self.url) as connection:
                return list(connection.execute(query.replace("?", "%s"), values).fetchall())
        with closing(sqlite3.connect(self.url, timeout=20)) as connection:
            return list(connection.execute(query, values).fetchall())

    def one(self, query: str, *values: Any) -> Any:
        """The first column of the only row."""
        ((value,),) = self.all(query, *values)
        return value

    def write(self, statement: str, *values: Any) -> None:
        """Change rows as a stranger would."""
        if self.is_postgresql:
            with psycopg.connect(self.url) as connection:
                connection.execute(statement.replace("?", "%s"), values)
            return
        with closing(sqlite3.connect(self.url, timeout=20)) as connection, connection:
            connection.execute(statement, values)

    def key(self, generation: str) -> Any:
        """A public id as this database stores it."""
        found = parse_public_id("gen", generation)
        assert found is not None
        return found if self.is_postgresql else found.hex

    def of(self, generation: str) -> Facts:
        """The facts of a generation with one output, by its public id."""
        ((output, state, code),) = self.all(
            "SELECT id, state, error_code FROM generation_output WHERE generation_id = ?", self.key(generation)
        )
        attempts = self.all(
            "SELECT status, is_delivered FROM generation_attempt WHERE output_id = ? ORDER BY number", output
        )
        holds = self.all("SELECT state FROM ledger_hold WHERE output_id = ?", output)
        return Facts(
            state=state,
            error_code=code,
            attempts=tuple(row[0] for row in attempts),
            delivered_count=sum(bool(row[1]) for row in attempts),
            charge_count=self.one("SELECT count(*) FROM generation_charge WHERE output_id = ?", output),
            image_count=self.one("SELECT count(*) FROM generation_media WHERE output_id = ?", output),
            hold=",".join(row[0] for row in holds),
            capture_count=self.one(
                "SELECT count(*) FROM ledger_entry e JOIN ledger_hold h ON h.id = e.hold_id"
                " WHERE h.output_id = ? AND e.kind = 'capture'",
                output,
            ),
        )

    def count(self, table: str) -> int:
        return int(self.one(f"SELECT count(*) FROM {table}"))

    def stored_names(self) -> set[str]:
        """Every file that a row knows of."""
        names = self.all(
            "SELECT storage_name FROM generation_media UNION SELECT storage_name FROM generation_reference"
        )
        return {row[0] for row in names}

    def faults(self) -> list[str]:
        """What is not as it must be when all has ended. Written apart from the service's own audit."""
        return list(self._faults())

    def _faults(self) -> Iterator[str]:
        rows = self.all(
            "SELECT o.id, o.state, o.error_code, count(DISTINCT c.id), count(DISTINCT m.id), count(DISTINCT e.id)"
            " FROM generation_output o LEFT JOIN generation_charge c ON c.output_id = o.id"
            " LEFT JOIN generation_media m ON m.output_id = o.id LEFT JOIN ledger_hold h ON h.output_id = o.id"
            " LEFT JOIN ledger_entry e ON e.hold_id = h.id AND e.kind = 'capture' GROUP BY o.id, o.state, o.error_code"
        )
        for output, state, code, *counts in rows:
            if state not in FINAL:
                yield f"output {output} is still {state}"
            elif state == "succeeded" and counts != [1, 1, 1]:
                yield f"output {output} succeeded with charges, images, captures {counts}"
            elif state != "succeeded" and (counts[0] or counts[2]):
                yield f"output {output} is {state} and was charged"
            elif state == "failed" and code not in NAMED_FAILURES:
                yield f"output {output} failed without a name: {code!r}"
        for hold in self.all("SELECT id FROM ledger_hold WHERE state = 'open'"):
            yield f"hold {hold[0]} is still open"
        for wallet, held in self.all("SELECT id, held_micros FROM ledger_wallet WHERE held_micros <> 0"):
            yield f"wallet {wallet} still holds {held}"


def files_below(folder: Path) -> set[str]:
    """Names of all files below a folder, relative to it."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} if folder.is_dir() else set()
