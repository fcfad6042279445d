"""Many rows of one table, each given values of its own, in one round trip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import connection
from django.db.models import Model


def update_each(model: type[Model], rows: Sequence[tuple[Any, Mapping[str, Any]]]) -> int:
    """Write `rows`, pairs of a primary key and the fields to set (the same fields for all); how many there were.

    Values are written as they are: no expressions, no signals.
    """
    if not rows:
        return 0
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
        return int(cursor.rowcount)
