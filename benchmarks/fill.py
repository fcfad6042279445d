"""Makes a year of business out of one real generation: a million finished outputs, with money that adds up.

Rows are copies of that generation's, so that columns nobody thought of here have real values. Triggers are dropped
meanwhile and made again; the audit afterwards says whether anything is amiss.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import django

_ACCOUNTS = 200
_CHUNK = 100_000
_GRANT_MICROS = 1_000_000_000_000
_LOST_EVERY = 50
_SKIPPED_CHECK = "I9: every delivered image is readable"

_PLAN = """
CREATE UNLOGGED TABLE bench_fill AS
SELECT i, now() - interval '1 year' + (interval '1 year' * i / {count}) AS created_at, a.account_id, a.api_key_id,
  a.wallet_id, a.lot_id, a.available, a.head, row_number() OVER (PARTITION BY a.wallet_id ORDER BY i) AS rank,
  {generation_id} AS generation_id, {output_id} AS output_id
FROM generate_series(1, {count}) AS i
JOIN bench_account AS a ON a.number = CASE WHEN i % 5 = 0 THEN 0 ELSE 1 + (i::bigint * 7919) % ({accounts} - 1) END
"""
_ACCOUNT_ROWS = """
CREATE UNLOGGED TABLE bench_account AS
SELECT row_number() OVER (ORDER BY w.id) - 1 AS number, w.account_id, w.id AS wallet_id,
  w.available_micros AS available, w.head_sequence AS head,
  (SELECT k.id FROM accounts_apikey k WHERE k.account_id = w.account_id LIMIT 1) AS api_key_id,
  (SELECT l.id FROM ledger_lot l WHERE l.wallet_id = w.id ORDER BY l.id LIMIT 1) AS lot_id
FROM ledger_wallet w WHERE w.mode = 'live'
"""
_HEADS = """
UPDATE ledger_wallet w SET available_micros = w.available_micros - f.count * {price},
  head_sequence = w.head_sequence + 2 * f.count
FROM (SELECT wallet_id, count(*) AS count FROM bench_fill GROUP BY wallet_id) f WHERE f.wallet_id = w.id
"""
_LOTS = """
UPDATE ledger_lot l SET remaining_micros = l.remaining_micros - f.count * {price}
FROM (SELECT lot_id, count(*) AS count FROM bench_fill GROUP BY lot_id) f WHERE f.lot_id = l.id
"""


def main() -> None:
    """Fill the database of the environment; prints the session of an operator, and seconds by step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int)
    options = parser.parse_args()
    os.environ["DJANGO_SETTINGS_MODULE"] = "nbp_site.settings"
    django.setup()
    started = time.perf_counter()
    _open_accounts()
    _fill(options.count)
    filled = time.perf_counter()
    broken = _audit()
    seconds = {"fill_seconds": round(filled - started, 1), "audit_seconds": round(time.perf_counter() - filled, 1)}
    print(json.dumps({"session": _operator_session(), "broken": broken, **seconds}))


def _open_accounts() -> None:
    from accounts import keys, registration
    from accounts.ledger import adjustments

    now = datetime.now(UTC)
    for number in range(1, _ACCOUNTS):
        account = registration.open_account(name=f"Account {number}", owner=None, now=now)
        adjustments.grant(
            account=account, mode="live", amount_micros=_GRANT_MICROS, actor="benchmark", reason="Benchmark", now=now
        )
        keys.issue(account=account, mode="live", name="benchmark")


def _operator_session() -> str:
    """The session cookie of a superuser who has just signed in."""
    from django.test import Client

    from accounts.models import User

    client = Client()
    client.force_login(User.objects.create_superuser("operator@example.com", "a password nobody types"))
    return str(client.cookies["sessionid"].value)


def _audit() -> list[str]:
    """Broken invariants. All images are one file here, which need not be read a million times."""
    from accounts.ledger import audit as ledger_audit
    from generation import audit

    checks = {**ledger_audit.CHECKS, **audit.CHECKS}
    checks.pop(_SKIPPED_CHECK)
    return [name for name, check in checks.items() if next(iter(check()), None)]


def _fill(count: int) -> None:
    from django.db import connection

    from accounts.ledger.triggers import GUARDS as LEDGER_GUARDS
    from generation.triggers import GUARDS as ROAD_GUARDS

    for guards in (LEDGER_GUARDS, ROAD_GUARDS):
        guards.drop(connection)
    is_superuser = _is_superuser()
    _work("prepare", count, is_superuser)
    # Charges refer to outputs, so whoever is checked does one after the other.
    with ThreadPoolExecutor(2 if is_superuser else 1) as threads:
        for each in [threads.submit(_work, step, count, is_superuser) for step in ("road", "money")]:
            each.result()
    _work("end", count, is_superuser)
    for guards in (LEDGER_GUARDS, ROAD_GUARDS):
        guards.create(connection)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")


def _is_superuser() -> bool:
    """A superuser may leave the checks of references out: copies refer to rows that exist."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
        return bool(cursor.fetchone()[0])


def _work(step: str, count: int, is_superuser: bool) -> None:
    """One step of the filling on a connection of its own."""
    from django.db import connection

    try:
        with connection.cursor() as cursor:
            if is_superuser:
                cursor.execute("SET session_replication_role = replica")
            getattr(Filling(cursor, count), step)()
            if is_superuser:
                cursor.execute("RESET session_replication_role")
    finally:
        connection.close()


def _uuid(alias: str, variant: str) -> str:
    """A UUID of version 7 for row `i`: ids sort by time, as the service's own do."""
    moment = f"(extract(epoch FROM {alias}) * 1000)::bigint"
    return (
        f"(lpad(to_hex({moment}), 12, '0') || '7' || lpad(to_hex(i % 4096), 3, '0') || '{variant}'"
        " || lpad(to_hex(i), 15, '0'))::uuid"
    )


class Filling:
    """One table after the other, in chunks. Expressions are over `f`, a row of the plan, and `t`, the row copied."""

    def __init__(self, cursor: Any, count: int) -> None:
        self._cursor = cursor
        self._count = count
        cursor.execute("SELECT output_id, price_micros FROM generation_charge ORDER BY id LIMIT 1")
        self._output_id, self._price = cursor.fetchone()
        cursor.execute("SELECT generation_id FROM generation_output WHERE id = %s", [self._output_id])
        (self._generation_id,) = cursor.fetchone()
        cursor.execute("SELECT id FROM ledger_hold WHERE output_id = %s AND released_micros = 0", [self._output_id])
        (self._hold_id,) = cursor.fetchone()

    def prepare(self) -> None:
        """The plan: a row for each output, with its ids, its owner and its place in the owner's wallet."""
        moment = f"(now() - interval '1 year' + (interval '1 year' * i / {self._count}))"
        ids = {"generation_id": _uuid(moment, "8"), "output_id": _uuid(moment, "9")}
        self._cursor.execute(_ACCOUNT_ROWS)
        self._cursor.execute(_PLAN.format(count=self._count, accounts=_ACCOUNTS, **ids))
        self._cursor.execute("CREATE INDEX ON bench_fill (i)")

    def end(self) -> None:
        """Wallets and lots as the entries left them."""
        self._cursor.execute(_HEADS.format(price=self._price))
        self._cursor.execute(_LOTS.format(price=self._price))
        self._cursor.execute("DROP TABLE bench_fill, bench_account")

    def road(self) -> None:
        """Generations with their outputs, attempts and images."""
        owner = {"account_id": "f.account_id", "api_key_id": "f.api_key_id", "created_at": "f.created_at"}
        ended = {"finished_at": "f.created_at + interval '15 seconds'"}
        started = {"started_at": "f.created_at + interval '1 second'"}
        self._copy(
            "generation_generation", f"id = '{self._generation_id}'", {"id": "f.generation_id", **owner, **ended}
        )
        of_output = f"output_id = '{self._output_id}'"
        output = {"id": "f.output_id", "generation_id": "f.generation_id", **owner, **started, **ended}
        self._copy("generation_output", f"id = '{self._output_id}'", output)
        attempt = {"output_id": "f.output_id", **started, **ended}
        number = f"CASE WHEN f.i % {_LOST_EVERY} = 0 THEN 2 ELSE 1 END"
        first = self._next("generation_attempt")
        self._copy("generation_attempt", of_output, {**attempt, "id": f"{first} + f.i", "number": number})
        lost = {"id": f"{first + self._count} + f.i", "number": "1", "is_delivered": "false", "status": "'unknown'"}
        self._copy("generation_attempt", of_output, {**attempt, **lost}, where=f"f.i % {_LOST_EVERY} = 0")
        media = {"id": f"{self._next('generation_media')} + f.i", "attempt_id": f"{first} + f.i"}
        self._copy("generation_media", of_output, {**media, "output_id": "f.output_id", "created_at": "f.created_at"})

    def money(self) -> None:
        """Holds, entries, uses of lots and charges."""
        hold, entry = self._next("ledger_hold"), self._next("ledger_entry")
        owner = {"wallet_id": "f.wallet_id", "created_at": "f.created_at"}
        settled = {"settled_at": "f.created_at + interval '15 seconds'"}
        holds = {"id": f"{hold} + f.i", "output_id": "f.output_id", **owner, **settled}
        self._copy("ledger_hold", f"id = {self._hold_id}", holds)
        of_hold, entries = f"hold_id = {self._hold_id}", {"hold_id": f"{hold} + f.i", **owner}
        entries["available_after_micros"] = f"f.available - f.rank * {self._price}"
        for kind, place, held in (("hold", 1, self._price), ("capture", 0, 0)):
            own = {
                "id": f"{entry} + 2 * f.i - {place}",
                "sequence": f"f.head + 2 * f.rank - {place}",
                "held_after_micros": str(held),
                "idempotency_key": f"'{kind}:' || f.output_id",
            }
            self._copy("ledger_entry", f"{of_hold} AND kind = '{kind}'", {**entries, **own})
        used = {"id": f"{self._next('ledger_lotuse')} + f.i", "entry_id": f"{entry} + 2 * f.i", "lot_id": "f.lot_id"}
        self._copy("ledger_lotuse", f"amount_micros = {self._price}", used)
        charge = {"id": f"{self._next('generation_charge')} + f.i", "entry_id": f"{entry} + 2 * f.i"}
        charge |= {"output_id": "f.output_id", "account_id": "f.account_id", "api_key_id": "f.api_key_id"}
        self._copy("generation_charge", f"output_id = '{self._output_id}'", {**charge, "created_at": "f.created_at"})

    def _next(self, table: str) -> int:
        self._cursor.execute(f"SELECT coalesce(max(id), 0) FROM {table}")
        return int(self._cursor.fetchone()[0])

    def _copy(self, table: str, template: str, values: Mapping[str, str], *, where: str = "true") -> None:
        self._cursor.execute(
            "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = %s ORDER BY 1", [table]
        )
        columns = dict(self._cursor.fetchall())
        chosen = ", ".join(values.get(name, f't."{name}"') for name in columns)
        names = ", ".join(f'"{name}"' for name in columns)
        self._cursor.execute(f"CREATE TEMPORARY TABLE bench_template AS SELECT * FROM {table} WHERE {template} LIMIT 1")
        started = time.perf_counter()
        for first in range(1, self._count + 1, _CHUNK):
            self._cursor.execute(
                f"INSERT INTO {table} ({names}) SELECT {chosen} FROM bench_fill f CROSS JOIN bench_template t"
                f" WHERE f.i BETWEEN {first} AND {first + _CHUNK - 1} AND {where}"
            )
        self._cursor.execute("DROP TABLE bench_template")
        if columns["id"] != "uuid":
            self._cursor.execute(
                f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), (SELECT max(id) FROM {table}))"
            )
        print(f"{table}: {time.perf_counter() - started:.1f} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
