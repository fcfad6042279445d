"""Database triggers kept as text beside the tables they guard, for SQLite and PostgreSQL alike.

Triggers are dropped before migrations and made again after them: a trigger that reads another table breaks SQLite's
table rebuild, and a rebuild silently loses the triggers of the table it rebuilds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.apps import AppConfig
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper


@dataclass(frozen=True, slots=True)
class Guard:
    """One trigger: on `event` of `table`, refuse with `message` when `condition` (over OLD and NEW) holds."""

    name: str
    table: str
    event: str
    condition: str
    message: str

    def create(self, vendor: str) -> list[str]:
        return self._create_postgresql() if vendor == "postgresql" else self._create_sqlite()

    def drop(self, vendor: str) -> str:
        on = f" ON {self.table}" if vendor == "postgresql" else ""
        return f"DROP TRIGGER IF EXISTS {self.name}{on}"

    def _create_sqlite(self) -> list[str]:
        return [
            f"CREATE TRIGGER {self.name} BEFORE {self.event} ON {self.table} FOR EACH ROW "
            f"WHEN {self.condition} BEGIN SELECT RAISE(ABORT, '{self.message}'); END"
        ]

    def _create_postgresql(self) -> list[str]:
        result = "OLD" if self.event == "DELETE" else "NEW"
        return [
            f"CREATE OR REPLACE FUNCTION {self.name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            f"IF {self.condition} THEN RAISE EXCEPTION '{self.message}' "
            f"USING ERRCODE = 'integrity_constraint_violation'; END IF; RETURN {result}; END $$",
            f"CREATE TRIGGER {self.name} BEFORE {self.event} ON {self.table} "
            f"FOR EACH ROW EXECUTE FUNCTION {self.name}()",
        ]


class Guards:
    """The triggers of one app, made after its migrations and dropped before the next."""

    def __init__(self, *guards: Guard) -> None:
        self.guards = guards

    def connect(self, config: AppConfig, pre_migrate: Any, post_migrate: Any) -> None:
        pre_migrate.connect(self._drop, sender=config, weak=False, dispatch_uid=f"{config.label}.guards.drop")
        post_migrate.connect(self._create, sender=config, weak=False, dispatch_uid=f"{config.label}.guards.create")

    def _drop(self, *, using: str, **_: Any) -> None:
        self.drop(connections[using])

    def _create(self, *, using: str, **_: Any) -> None:
        self.create(connections[using])

    def drop(self, connection: BaseDatabaseWrapper) -> None:
        tables = connection.introspection.table_names()
        with connection.cursor() as cursor:
            for guard in self.guards:
                if guard.table in tables:
                    cursor.execute(guard.drop(connection.vendor))

    def create(self, connection: BaseDatabaseWrapper) -> None:
        self.drop(connection)
        tables = connection.introspection.table_names()
        with connection.cursor() as cursor:
            for guard in self.guards:
                if guard.table in tables:
                    for statement in guard.create(connection.vendor):
                        cursor.execute(statement)

    def missing(self, connection: BaseDatabaseWrapper) -> list[str]:
        """Names of triggers that should be in the database and are not."""
        query = (
            "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal"
            if connection.vendor == "postgresql"
            else "SELECT name FROM sqlite_master WHERE type = 'trigger'"
        )
        with connection.cursor() as cursor:
            cursor.execute(query)
            present = {row[0] for row in cursor.fetchall()}
        return [guard.name for guard in self.guards if guard.name not in present]


def immutable(table: str, what: str) -> tuple[Guard, Guard]:
    """Rows of `table` are written once."""
    return (
        Guard(f"{table}_no_update", table, "UPDATE", "1 = 1", f"{what} is never changed"),
        Guard(f"{table}_no_delete", table, "DELETE", "1 = 1", f"{what} is never deleted"),
    )
