"""Back the installation up while it runs."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from accounts.management.answers import AnsweringCommand
from nbp_site.operating import backup, databases


class Command(AnsweringCommand):
    help = "Copy database and images into a folder, while the service runs. Again into the same folder: what is new."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("folder", type=Path)
        parser.add_argument("--with-secrets", action="store_true", help="the secrets too, for the owner's eyes only")
        parser.add_argument("--link", action="store_true", help="link images instead of copying them, on the same disk")

    def answer(self, options: dict[str, Any]) -> dict[str, Any]:
        folder = options["folder"].expanduser().resolve()
        try:
            made = backup.make(
                folder, with_secrets=options["with_secrets"], is_linked=options["link"], now=datetime.now(UTC)
            )
        except (databases.CannotCopy, backup.Damaged, OSError) as error:
            raise CommandError(str(error)) from error
        return {
            "folder": str(folder),
            "database": made.database,
            "file_count": made.file_count,
            "byte_count": made.byte_count,
            "row_count": sum(made.rows.values()),
            "has_secrets": made.has_secrets,
        }
