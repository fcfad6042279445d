"""A database as one file and back: SQLite by its online backup, PostgreSQL by pg_dump and pg_restore.

A snapshot is one moment: what is read beside it is of the same moment, whatever is written meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess  # nosec B404 # PostgreSQL's own tools for a backup
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.db import connection, connections, transaction

Row = tuple[Any, ...]
Reader = Callable[[str], Iterable[Row]]
_POSTGRESQL_TOOLS = ("pg_dump", "pg_restore")


class CannotCopy(Exception):
    """Why a database cannot be written to a file or read from one, in words for the operator."""


@contextmanager
def snapshot(path: Path) -> Iterator[Reader]:
    """Write the database to `path`; inside the block the answer reads that very moment: a query in, its rows out."""
    with _postgresql(path) if connection.vendor == "postgresql" else _sqlite(path) as reader:
        yield reader


@contextmanager
def _sqlite(path: Path) -> Iterator[Reader]:
    source = sqlite3.connect(str(connection.settings_dict["NAME"]), timeout=20)
    target = sqlite3.connect(path)
    path.chmod(0o600)
    with contextlib.closing(source), contextlib.closing(target):
        source.backup(target)
        # One file, without a journal beside it.
        target.execute("PRAGMA journal_mode = DELETE")
        [verdict] = target.execute("PRAGMA quick_check").fetchone()
        if verdict != "ok":
            raise CannotCopy(f"the copy of the database is damaged: {verdict}")
        yield target.execute


@contextmanager
def _postgresql(path: Path) -> Iterator[Reader]:
    check_tools()
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        # This session rests while pg_dump works.
        cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        cursor.execute("SELECT pg_export_snapshot()")
        [name] = cursor.fetchone()
        _run("pg_dump", "--format=custom", "--no-owner", "--no-privileges", f"--snapshot={name}", f"--file={path}")
        path.chmod(0o600)
        yield _in_pieces


def _in_pieces(query: str) -> Iterator[Row]:
    """Rows of a query, not all of them in memory."""
    with connection.chunked_cursor() as cursor:
        cursor.execute(query)
        while rows := cursor.fetchmany(1000):
            yield from rows


def load(path: Path) -> None:
    """Make the database what the file holds. What it held is lost."""
    if connection.vendor == "postgresql":
        _load_postgresql(path)
    else:
        _load_sqlite(path)


def _load_sqlite(path: Path) -> None:
    connections.close_all()
    source = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    target = sqlite3.connect(str(connection.settings_dict["NAME"]), timeout=20)
    with contextlib.closing(source), contextlib.closing(target):
        source.backup(target)


def _load_postgresql(path: Path) -> None:
    check_tools()
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f"DROP TABLE IF EXISTS {connection.ops.quote_name(table)} CASCADE")
    options = ("--clean", "--if-exists", "--no-owner", "--no-privileges", "--exit-on-error", "--single-transaction")
    _run("pg_restore", *options, f"--dbname={connection.settings_dict['NAME']}", str(path))
    connections.close_all()


def check_tools() -> None:
    """Raises CannotCopy where PostgreSQL is used and its tools are not installed."""
    missing = [tool for tool in _POSTGRESQL_TOOLS if shutil.which(tool) is None]
    if connection.vendor == "postgresql" and missing:
        raise CannotCopy(f"{' and '.join(missing)} must be installed here (the package postgresql-client has them)")


def _run(tool: str, *arguments: str) -> None:
    """Run a tool of PostgreSQL; where to and as whom goes by the environment, for arguments can be seen by anybody."""
    names = {"PGHOST": "HOST", "PGPORT": "PORT", "PGUSER": "USER", "PGPASSWORD": "PASSWORD", "PGDATABASE": "NAME"}
    given = {name: str(connection.settings_dict[key]) for name, key in names.items() if connection.settings_dict[key]}
    command = [str(shutil.which(tool)), "--no-password", *arguments]
    done = subprocess.run(  # noqa: S603 # nosec # a fixed tool, no shell, arguments of our own
        command, env=os.environ | given, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise CannotCopy(f"{tool} failed: {done.stderr.strip()[-2000:]}")
