"""Prove the ledger and the road, or name what is broken."""

from __future__ import annotations

import dataclasses
import json
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from accounts.ledger import audit as ledger_audit
from accounts.payments import audit as payments_audit
from generation import audit


class Command(BaseCommand):
    help = "Check every invariant of money, outputs and images. Exit 1 and the broken invariant on any violation."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="one JSON object on standard output")

    def handle(self, *args: Any, **options: Any) -> None:
        found = list(audit.violations())
        checked = [*ledger_audit.CHECKS, *payments_audit.CHECKS, *audit.CHECKS]
        if options["json"]:
            answer = {"ok": not found, "checked": checked, "violations": [dataclasses.asdict(each) for each in found]}
            self.stdout.write(json.dumps(answer))
        else:
            self._tell(checked, found)
        if found:
            sys.exit(1)

    def _tell(self, checked: list[str], found: list[ledger_audit.Violation]) -> None:
        broken = {each.invariant for each in found}
        for invariant in checked:
            self.stdout.write(f"{'BROKEN' if invariant in broken else 'ok    '}  {invariant}")
        for each in found:
            self.stdout.write(f"{each.invariant}: {each.detail}")
