"""What the fake remembers, in a SQLite file of its own: web and worker share it, and a restart forgets nothing."""

from __future__ import annotations

import json
import secrets
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Object = dict[str, Any]

_TABLES = """
CREATE TABLE IF NOT EXISTS object (number INTEGER PRIMARY KEY, id TEXT UNIQUE, kind TEXT, body TEXT);
CREATE INDEX IF NOT EXISTS object_kind ON object (kind, number);
CREATE TABLE IF NOT EXISTS replay (key TEXT PRIMARY KEY, asked TEXT, status INTEGER, body TEXT, at REAL);
CREATE TABLE IF NOT EXISTS later (number INTEGER PRIMARY KEY, due REAL, deed TEXT, subject TEXT, tries INTEGER);
CREATE TABLE IF NOT EXISTS fault (number INTEGER PRIMARY KEY, method TEXT, path TEXT, kind TEXT);
"""


class Book:
    """The fake's objects within one transaction. Names that begin with "_" are its own and never answered."""

    def __init__(self, connection: sqlite3.Connection, now: float, pages: str) -> None:
        self._connection = connection
        self.now = now
        self.pages = pages

    def put(self, found: Object) -> Object:
        """Keep an object, new or changed."""
        self._connection.execute(
            "INSERT INTO object (id, kind, body) VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET body = excluded.body",
            (found["id"], found["object"], json.dumps(found)),
        )
        return found

    def make(self, prefix: str, kind: str, **fields: Any) -> Object:
        """A new object with an id of Stripe's form."""
        made = {"id": f"{prefix}_{secrets.token_hex(12)}", "object": kind, "created": int(self.now), "livemode": False}
        return self.put(made | fields)

    def get(self, object_id: str) -> Object | None:
        row = self._connection.execute("SELECT body FROM object WHERE id = ?", (object_id,)).fetchone()
        return json.loads(row[0]) if row else None

    def all(self, kind: str) -> list[Object]:
        """Newest first, as Stripe lists."""
        rows = self._connection.execute("SELECT body FROM object WHERE kind = ? ORDER BY number DESC", (kind,))
        return [json.loads(row[0]) for row in rows]

    def replay(self, key: str) -> tuple[str, int, str] | None:
        """What was asked under an idempotency key of the last day, and what was answered."""
        row = self._connection.execute(
            "SELECT asked, status, body FROM replay WHERE key = ? AND at > ?", (key, self.now - 86_400)
        ).fetchone()
        return (row[0], row[1], row[2]) if row else None

    def remember(self, key: str, asked: str, status: int, body: str) -> None:
        self._connection.execute(
            "INSERT OR REPLACE INTO replay VALUES (?, ?, ?, ?, ?)", (key, asked, status, body, self.now)
        )

    def later(self, seconds: float, deed: str, subject: str, tries: int = 0) -> None:
        """Do something about an object after a while: deliver an event, end a delayed payment."""
        self._connection.execute(
            "INSERT INTO later (due, deed, subject, tries) VALUES (?, ?, ?, ?)",
            (self.now + seconds, deed, subject, tries),
        )

    def due(self, deed: str) -> list[tuple[str, int]]:
        """Take what is due: subjects and how often each was tried."""
        rows = self._connection.execute(
            "DELETE FROM later WHERE deed = ? AND due <= ? RETURNING number, subject, tries", (deed, self.now)
        ).fetchall()
        return [(row[1], row[2]) for row in sorted(rows)]

    def add_fault(self, method: str, path: str, kind: str) -> None:
        self._connection.execute("INSERT INTO fault (method, path, kind) VALUES (?, ?, ?)", (method, path, kind))

    def take_fault(self, method: str, path: str) -> str:
        """The kind of the oldest fault that waits for such a request, or an empty text."""
        rows = self._connection.execute(
            "SELECT number, path, kind FROM fault WHERE method = ? ORDER BY number", (method,)
        )
        for number, prefix, kind in rows.fetchall():
            if path.startswith(prefix):
                self._connection.execute("DELETE FROM fault WHERE number = ?", (number,))
                return str(kind)
        return ""


class Store:
    """Opens the book for one transaction at a time."""

    def __init__(self, path: Path, pages: str) -> None:
        self._pages = pages
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._lock = threading.Lock()
        with self._open() as connection:
            connection.executescript(_TABLES)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(self._path, timeout=20, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            yield connection
        finally:
            connection.close()

    @contextmanager
    def book(self, now: float) -> Iterator[Book]:
        """The objects, to read and change; all of it is kept, or nothing after an exception."""
        with self._lock, self._open() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield Book(connection, now, self._pages)
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")
