"""Make this installation what a backup holds, and prove that it is."""

from __future__ import annotations

import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from accounts.management.answers import AnsweringCommand
from nbp_site.operating import backup, databases, restore


class Command(AnsweringCommand):
    help = "Load a backup into an empty installation, migrate, audit. Exit 1 if the audit finds anything."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("folder", type=Path)
        parser.add_argument("--force", action="store_true", help="write over an installation that is not empty")

    def handle(self, *args: Any, **options: Any) -> None:
        self._is_ok = False
        super().handle(*args, **options)
        if not self._is_ok:
            sys.exit(1)

    def answer(self, options: dict[str, Any]) -> dict[str, Any]:
        folder = options["folder"].expanduser().resolve()
        try:
            found = restore.restore(
                folder, is_forced=options["force"], now=datetime.now(UTC), say=lambda text: self.stderr.write(text)
            )
        except (databases.CannotCopy, backup.Damaged, restore.NotEmpty, OSError) as error:
            raise CommandError(str(error)) from error
        self._is_ok = not found.violations
        return {
            "is_ok": self._is_ok,
            "made_at": found.manifest.made_at,
            "file_count": found.manifest.file_count,
            "row_count": sum(found.manifest.rows.values()),
            "warnings": found.warnings,
            "violations": [asdict(each) for each in found.violations],
        }
