"""The database of the simulator: the real schema, in memory on SQLite, emptied in a moment between two seeds."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial

from django.apps import apps
from django.db import connection

from accounts.ledger.triggers import GUARDS

# What an operator sets up once stays from seed to seed.
_CATALOGUE = {"generation_imagemodel", "generation_modelalias", "generation_price", "generation_cost"}


@contextmanager
def in_memory() -> Iterator[None]:
    """On SQLite, Django's connection is a private copy in memory of the test database inside the block."""
    connection.ensure_connection()
    if connection.vendor != "sqlite":
        yield
        return
    on_disk = connection.connection
    connection.connection = _new_memory()
    on_disk.backup(connection.connection)
    connection.connection.execute("PRAGMA foreign_keys = ON")
    try:
        yield
    finally:
        connection.connection.close()
        connection.connection = on_disk


def _new_memory() -> sqlite3.Connection:
    parameters = connection.get_connection_params()
    made: sqlite3.Connection = connection.get_new_connection(parameters | {"database": ":memory:"})
    return made


@contextmanager
def without_trigger(name: str) -> Iterator[None]:
    """The database does not refuse what this trigger of the ledger refuses, inside the block."""
    with connection.cursor() as cursor:
        for guard in GUARDS.guards:
            if guard.name == name:
                cursor.execute(guard.drop(connection.vendor))
    try:
        yield
    finally:
        if name:
            GUARDS.create(connection)


@contextmanager
def snapshot(furnish: Callable[[], None]) -> Iterator[Callable[[], None]]:
    """Keep the database as it is now; what is yielded puts it back. `furnish` makes again what cannot be kept."""
    if connection.vendor != "sqlite":
        yield partial(_empty, furnish)
        return
    with closing(_new_memory()) as kept:
        connection.connection.backup(kept)
        yield lambda: kept.backup(connection.connection)


def _empty(furnish: Callable[[], None]) -> None:
    tables = [
        model._meta.db_table
        for label in ("ledger", "generation")
        for model in apps.get_app_config(label).get_models()
        if model._meta.db_table not in _CATALOGUE
    ]
    with connection.cursor() as cursor:
        cursor.execute("SET synchronous_commit = off")
        cursor.execute(f"TRUNCATE {', '.join(tables)} RESTART IDENTITY CASCADE")
    furnish()
