"""PostgreSQL and Redis for benchmarks: databases of our own beside whatever else the servers hold."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import psycopg
import redis

POSTGRESQL = os.environ.get("DATABASE_URL") or "postgres://postgres@127.0.0.1:5432/postgres"
REDIS = os.environ.get("REDIS_URL") or "redis://127.0.0.1:6379/0"
NAME = os.environ.get("NBP_BENCH_DATABASE") or "nbp_bench"
REDIS_NUMBERS = (5, 6)
_MARK = "nbp_bench:these keys are a benchmark's"


class Missing(Exception):
    """A service is not there, or not ours to use."""


def url_of(name: str) -> str:
    """The same server's URL with another database."""
    return urlsplit(POSTGRESQL)._replace(path=f"/{name}").geturl()


def redis_url(number: int) -> str:
    return urlsplit(REDIS)._replace(path=f"/{number}").geturl()


@contextmanager
def alone() -> Iterator[None]:
    """Keep a second benchmark away: it would drop our databases, and spoil the figures of both."""
    with _connect() as connection:
        row = connection.execute("SELECT pg_try_advisory_lock(hashtext(%s))", [NAME]).fetchone()
        if not row or not row[0]:
            raise Missing(f"another benchmark uses the database {NAME}; wait for it, or set NBP_BENCH_DATABASE.")
        yield


@contextmanager
def database(name: str) -> Iterator[str]:
    """A new, empty database by that name, dropped at the end; answers its URL."""
    _replace(name)
    try:
        yield url_of(name)
    finally:
        _drop(name)


def _connect() -> psycopg.Connection[Any]:
    try:
        return psycopg.connect(POSTGRESQL, autocommit=True, connect_timeout=5)
    except psycopg.OperationalError as error:
        raise Missing(f"PostgreSQL does not answer: {error}. Set DATABASE_URL.") from None


def _replace(name: str) -> None:
    with _connect() as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        connection.execute(f'CREATE DATABASE "{name}"')


def _drop(name: str) -> None:
    with _connect() as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def postgresql_version() -> str:
    with _connect() as connection:
        row = connection.execute("SHOW server_version").fetchone()
    return str(row[0]) if row else ""


def redis_version() -> str:
    return str(redis.Redis.from_url(redis_url(REDIS_NUMBERS[0])).info("server")["redis_version"])


@contextmanager
def redis_databases() -> Iterator[tuple[str, str]]:
    """Two empty Redis databases, emptied again at the end. Refuses to touch keys that are not a benchmark's."""
    clients = [redis.Redis.from_url(redis_url(number)) for number in REDIS_NUMBERS]
    try:
        strangers = [number for number, each in zip(REDIS_NUMBERS, clients, strict=True) if _has_strangers(each)]
    except redis.RedisError as error:
        raise Missing(f"Redis does not answer: {error}. Set REDIS_URL.") from None
    if strangers:
        raise Missing(f"Redis database {strangers[0]} holds keys that are not a benchmark's. Empty it, or use another.")
    try:
        for each in clients:
            each.flushdb()
            each.set(_MARK, "1")
        yield redis_url(REDIS_NUMBERS[0]), redis_url(REDIS_NUMBERS[1])
    finally:
        for each in clients:
            each.flushdb()
            each.close()


def _has_strangers(client: Any) -> bool:
    return bool(client.dbsize()) and not client.exists(_MARK)
