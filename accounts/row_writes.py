"""Rows of one table written in one round trip, without the work that Django puts into building each statement."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from django.db import connection
from django.db.models import AutoField, Field, Model
from django.db.models.functions import Now
from django.db.models.sql import Query

M = TypeVar("M", bound=Model)
# PostgreSQL takes 65,535 in one statement.
_MAX_PARAMETERS = 30_000


def insert_each(instances: Iterable[M]) -> list[M]:
    """Insert instances of one model, as `bulk_create` does; those whose key the database makes get it."""
    rows = list(instances)
    if not rows:
        return []
    start, fields, key = _insert(type(rows[0]), connection.vendor)
    size = max(1, min(connection.ops.bulk_batch_size(fields, rows), _MAX_PARAMETERS // len(fields)))
    for place in range(0, len(rows), size):
        _insert_batch(start, fields, key, rows[place : place + size])
    return rows


@functools.cache
def _insert(model: type[Model], vendor: str) -> tuple[str, list[Field[Any, Any]], str]:
    """The statement as far as VALUES, the fields that are written, and the key that is answered."""
    quote = connection.ops.quote_name
    key = model._meta.pk
    assert key is not None
    fields = [each for each in model._meta.concrete_fields if not isinstance(each, AutoField)]
    columns = ", ".join(quote(str(field.column)) for field in fields)
    answered = quote(str(key.column)) if isinstance(key, AutoField) else ""
    # Names of tables and columns are our own models'; every value is a parameter.
    return f"INSERT INTO {quote(model._meta.db_table)} ({columns}) VALUES ", fields, answered  # noqa: S608 # nosec


def _insert_batch(start: str, fields: Sequence[Field[Any, Any]], key: str, rows: Sequence[Model]) -> None:
    places: list[str] = []
    values: list[Any] = []
    for row in rows:
        row._prepare_related_fields_for_save("insert_each")  # type: ignore[attr-defined]
        row_places = [_place(field, row, values) for field in fields]
        places.append(f"({', '.join(row_places)})")
    with connection.cursor() as cursor:
        cursor.execute(start + ", ".join(places) + (f" RETURNING {key}" if key else ""), values)
        if key:
            for row, made in zip(rows, cursor.fetchall(), strict=True):
                row.pk = made[0]
    for row in rows:
        row._state.adding, row._state.db = False, connection.alias


def _place(field: Field[Any, Any], row: Model, values: list[Any]) -> str:
    """What stands for a field's value in the statement; the value itself is added to `values`."""
    value = field.pre_save(row, True)
    if isinstance(value, Now):
        # The database's clock.
        write = getattr(value, f"as_{connection.vendor}", value.as_sql)
        sql, parameters = write(None, connection)  # type: ignore[arg-type]
        values.extend(parameters)
        return str(sql)
    if hasattr(value, "resolve_expression"):
        # A time reckoned from it.
        compiler = Query(None).get_compiler(connection=connection)
        sql, parameters = compiler.compile(value.resolve_expression(compiler.query))
        values.extend(parameters)
        return str(sql)
    values.append(field.get_db_prep_save(value, connection))
    return "%s"


def update_each(model: type[Model], rows: Sequence[tuple[Any, Mapping[str, Any]]]) -> None:
    """Write `rows`, pairs of a primary key and the fields to set (the same fields for all).

    Values are written as they are: no expressions, no signals.
    """
    if not rows:
        return
    concrete = {field.name: field for field in model._meta.concrete_fields}
    fields = [concrete[name] for name in rows[0][1]]
    columns = ", ".join(f"{connection.ops.quote_name(str(field.column))} = %s" for field in fields)
    key = model._meta.pk
    assert key is not None
    table = connection.ops.quote_name(model._meta.db_table)
    # Names of tables and columns are our own models'; every value is a parameter.
    statement = f"UPDATE {table} SET {columns} WHERE {key.column} = %s"  # noqa: S608 # nosec
    values = [
        [
            *(field.get_db_prep_save(row[1][field.name], connection) for field in fields),
            key.get_db_prep_save(row[0], connection),
        ]
        for row in rows
    ]
    with connection.cursor() as cursor:
        if len(values) == 1:
            # Alone, a row needs none of the pipeline that several share.
            cursor.execute(statement, values[0])
        else:
            cursor.executemany(statement, values)
