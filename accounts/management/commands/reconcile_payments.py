"""Compare payments with Stripe, or say where they differ."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.payments import nightly, reconciliation


class Command(BaseCommand):
    help = "Fetch missed events, credit lost payments and compare every payment with Stripe. Exit 1 on any drift."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
        parser.add_argument("--days", type=int, default=35, help="how far back (default: 35)")

    def handle(self, *args: Any, **options: Any) -> None:
        if not 0 < options["days"] <= 3650:
            raise CommandError("--days must be from 1 to 3650.")
        try:
            report = nightly.run_by_hand(now=datetime.now(UTC), days=options["days"])
        except reconciliation.NotReconciled as error:
            raise CommandError(str(error)) from None
        answer = {
            "ok": report.is_clean,
            "payments_checked": report.payments_checked,
            "events_fetched": report.events_fetched,
            "credited_now": report.credited_now,
            "drift": [
                {"subject": each.subject, "invariant": each.invariant, "detail": each.detail}
                for each in report.differences
            ],
        }
        if options["json"]:
            self.stdout.write(json.dumps(answer))
            if not report.is_clean:
                sys.exit(1)
            return
        self.stdout.write(
            f"{report.payments_checked} payments compared, {report.events_fetched} events fetched that no webhook had "
            f"brought, {report.credited_now} payments credited now."
        )
        if not report.is_clean:
            raise CommandError("\n".join(f"{each.invariant}: {each.detail}" for each in report.differences))
        self.stdout.write("Stripe and the ledger agree.")
