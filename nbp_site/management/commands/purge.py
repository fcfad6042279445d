"""Forget now what a worker would forget within the hour, or only say how much that is."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.core.management.base import CommandParser

from accounts.management.answers import AnsweringCommand
from nbp_site.operating import purging


class Command(AnsweringCommand):
    help = "Forget what is past the days of NBP_RETENTION_..., stray files, old sessions."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--dry-run", action="store_true", help="say how much, and forget nothing")

    def answer(self, options: dict[str, Any]) -> dict[str, Any]:
        found = purging.overdue(now=datetime.now(UTC))
        if not options["dry_run"]:
            purging.purge_all()
        return found
