"""Queries of the hot path, compiled to SQL once. Django compiles a query anew for every use, which takes longer than
most of these take in the database.
"""

from __future__ import annotations

import itertools
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from django.core.exceptions import EmptyResultSet
from django.db import connection
from django.db.models import QuerySet
from django.db.models.query import (
    FlatValuesListIterable,
    ModelIterable,
    NamedValuesListIterable,
    get_related_populators,
)
from django.db.models.sql import UpdateQuery
from django.db.models.sql.compiler import SQLCompiler
from django.db.models.utils import create_namedtuple_class

R = TypeVar("R")
_numbers = itertools.count(2**30)


class _Compiled(ABC):
    """Keeps a statement for each combination of lengths that it was asked with."""

    def __init__(self, build: Callable[..., Any]) -> None:
        self._build = build
        self._kept: dict[tuple[Any, ...], _Statement | None] = {}

    def _statement(self, lists: Sequence[Sequence[Any]]) -> _Statement | None:
        """None for a query that can find nothing."""
        shape = (connection.vendor, *(len(each) for each in lists))
        if shape not in self._kept:
            made_up = [[_made_up(value) for value in each] for each in lists]
            self._kept[shape] = self._compile(made_up)
        return self._kept[shape]

    @abstractmethod
    def _compile(self, made_up: Sequence[Sequence[Any]]) -> _Statement | None: ...


class CompiledSelect(_Compiled, Generic[R]):
    """`build` makes a query of models, or of `values_list`, from lists of ids (UUIDs, integers or strings).

    Called with such lists, answers the rows. A list's values must go into the query as they are, nothing may depend on
    them but the values compared, and nothing else may vary from call to call: `build` is called once for each
    combination of lengths, with made-up values.
    """

    def __init__(self, build: Callable[..., QuerySet[Any, R]]) -> None:
        super().__init__(build)

    def __call__(self, *lists: Sequence[Any]) -> list[R]:
        statement = self._statement(lists)
        if statement is None:
            return []
        with connection.cursor() as cursor:
            cursor.execute(statement.sql, statement.filled(lists))
            return statement.read(cursor.fetchall())

    def _compile(self, made_up: Sequence[Sequence[Any]]) -> _Statement | None:
        queryset = self._build(*made_up)
        compiler = queryset.query.get_compiler(using=queryset.db)
        return _statement(compiler, made_up, lambda: _reader(queryset, compiler))


class CompiledUpdate(_Compiled):
    """The same for an UPDATE: `build` answers a query and the fields to set. Called, answers how many rows it met."""

    def __init__(self, build: Callable[..., tuple[QuerySet[Any, Any], Mapping[str, Any]]]) -> None:
        super().__init__(build)

    def __call__(self, *lists: Sequence[Any]) -> int:
        statement = self._statement(lists)
        if statement is None:
            return 0
        with connection.cursor() as cursor:
            cursor.execute(statement.sql, statement.filled(lists))
            return int(cursor.rowcount)

    def _compile(self, made_up: Sequence[Sequence[Any]]) -> _Statement | None:
        queryset, values = self._build(*made_up)
        query = queryset.query.chain(UpdateQuery)
        query.add_update_values(values)
        return _statement(query.get_compiler(using=queryset.db), made_up, lambda: list)


@dataclass(frozen=True, slots=True)
class _Statement:
    """`places`: position of a parameter, and which list and which of its values go there."""

    sql: str
    parameters: tuple[Any, ...]
    places: list[tuple[int, int, int]]
    is_hex: bool
    read: Callable[[Sequence[Sequence[Any]]], list[Any]]

    def filled(self, lists: Sequence[Sequence[Any]]) -> list[Any]:
        """The parameters, with the values of these lists in their places."""
        parameters = list(self.parameters)
        for place, which, index in self.places:
            value = lists[which][index]
            parameters[place] = value.hex if self.is_hex and isinstance(value, uuid.UUID) else value
        return parameters


def _statement(
    compiler: SQLCompiler, made_up: Sequence[Sequence[Any]], reader: Callable[[], Callable[..., list[Any]]]
) -> _Statement | None:
    try:
        sql, parameters = compiler.as_sql()
    except EmptyResultSet:
        return None
    known = {value: (which, index) for which, each in enumerate(made_up) for index, value in enumerate(each)}
    wanted = set(known.values())
    known |= {value.hex: place for value, place in known.items() if isinstance(value, uuid.UUID)}
    places = [(place, *known[value]) for place, value in enumerate(parameters) if value in known]
    assert {place[1:] for place in places} == wanted, f"a value is lost on its way into {sql}"
    is_hex = not connection.features.has_native_uuid_field
    return _Statement(sql, tuple(parameters), places, is_hex, reader())


def _made_up(value: Any) -> Any:
    """Another value of the same type that is met nowhere else: by it the place of the real one is found."""
    number = next(_numbers)
    if isinstance(value, uuid.UUID):
        return uuid.UUID(int=number)
    return number if isinstance(value, int) else f"made up {number}"


def _reader(queryset: QuerySet[Any, Any], compiler: SQLCompiler) -> Callable[[Sequence[Sequence[Any]]], list[Any]]:
    """Makes what the query set would make of the rows that the database answers."""
    converters = compiler.get_converters([column[0] for column in compiler.select])
    make = _maker(queryset, compiler)

    def read(rows: Sequence[Sequence[Any]]) -> list[Any]:
        converted = compiler.apply_converters(rows, converters) if converters else rows
        return [make(row) for row in converted]

    return read


def _maker(queryset: QuerySet[Any, Any], compiler: SQLCompiler) -> Callable[[Sequence[Any]], Any]:
    if queryset._iterable_class is FlatValuesListIterable:
        return lambda row: row[0]
    if queryset._iterable_class is NamedValuesListIterable:
        row_of = create_namedtuple_class(*queryset._fields)  # type: ignore[attr-defined]
        return lambda row: row_of(*row)
    if queryset._iterable_class is not ModelIterable:
        return tuple
    assert compiler.klass_info is not None
    columns = compiler.klass_info["select_fields"]
    start, end = columns[0], columns[-1] + 1
    model, names = compiler.klass_info["model"], [column[0].target.attname for column in compiler.select[start:end]]
    related = get_related_populators(compiler.klass_info, compiler.select, queryset.db)  # type: ignore[call-arg]

    def make(row: Sequence[Any]) -> Any:
        instance = model.from_db(queryset.db, names, row[start:end])
        for each in related:
            each.populate(row, instance)
        return instance

    return make
