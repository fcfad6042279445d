"""Holds and captures by many threads of one process, through the ledger as submission and settlement call it."""

from __future__ import annotations

import argparse
import os
import random
import threading
import time
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import django

_MICROS = 134_000
_GRANT_MICROS = 1_000_000_000_000


def main() -> None:
    """Make wallets, or print how many pairs a second `threads` threads get through on them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=("prepare", "measure"))
    parser.add_argument("--wallets", type=int, required=True)
    parser.add_argument("--threads", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    os.environ["DJANGO_SETTINGS_MODULE"] = "nbp_site.settings"
    django.setup()
    if options.action == "prepare":
        _prepare(options.wallets)
    else:
        print(_measure(options.wallets, options.threads, options.seconds))


def _prepare(count: int) -> None:
    from accounts import registration
    from accounts.ledger import adjustments
    from accounts.models import Account

    now = datetime.now(UTC)
    for number in range(count - Account.objects.count()):
        account = registration.open_account(name=f"Account {number}", owner=None, now=now)
        adjustments.grant(
            account=account, mode="live", amount_micros=_GRANT_MICROS, actor="benchmark", reason="Benchmark", now=now
        )


class Ledger:
    """The two ends of an output's money. Those that come together share a transaction, as they do in the service."""

    def __init__(self) -> None:
        from accounts.group_commit import GroupCommit

        self.holds = GroupCommit(self._hold, max_size=32)
        self.captures = GroupCommit(self._capture, max_size=64)

    def _hold(self, items: Sequence[tuple[uuid.UUID, uuid.UUID]]) -> list[None]:
        from accounts.ledger.operations import HoldBatch
        from accounts.transactions import write_transaction

        now = datetime.now(UTC)
        with write_transaction():
            batch = HoldBatch([(account_id, "live") for account_id, _ in items])
            for account_id, output_id in items:
                batch.add(account_id=account_id, mode="live", amounts={output_id: _MICROS}, api_key=None, now=now)
            batch.write(now=now)
        return [None] * len(items)

    def _capture(self, output_ids: Sequence[uuid.UUID]) -> list[None]:
        from accounts.ledger import operations
        from accounts.transactions import write_transaction

        with write_transaction():
            operations.settle(dict.fromkeys(output_ids, _MICROS), now=datetime.now(UTC))
        return [None] * len(output_ids)


def _measure(wallets: int, threads: int, seconds: float) -> float:
    from accounts.models import Account

    accounts = list(Account.objects.order_by("pk").values_list("pk", flat=True)[:wallets])
    ledger, counts = Ledger(), [0] * threads
    started = time.perf_counter()
    workers = [
        threading.Thread(target=_work, args=(ledger, accounts, counts, place, started + seconds))
        for place in range(threads)
    ]
    for each in workers:
        each.start()
    for each in workers:
        each.join()
    return round(sum(counts) / (time.perf_counter() - started), 1)


def _work(ledger: Ledger, accounts: Sequence[Any], counts: list[int], place: int, ends_at: float) -> None:
    from django.db import connection

    from accounts.identifiers import new_uuid

    chance = random.Random(place)
    while time.perf_counter() < ends_at:
        output_id = new_uuid()
        ledger.holds.do((chance.choice(accounts), output_id))
        ledger.captures.do(output_id)
        counts[place] += 1
        connection.close()
    connection.close()


if __name__ == "__main__":
    main()
