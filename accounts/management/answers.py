"""Commands that answer: one JSON object on standard output with --json, else lines for people."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.serializers.json import DjangoJSONEncoder
from django.db import DatabaseError


class AnsweringCommand(BaseCommand):
    """A command whose `answer` returns names and values; errors are CommandErrors (exit 1, on standard error)."""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="one JSON object on standard output, nothing else")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            found = self.answer(options)
        except DatabaseError as error:
            raise CommandError(f"The database refuses: {error}. If it is new, run manage.py migrate first.") from error
        if options["json"]:
            self.stdout.write(json.dumps(found, cls=DjangoJSONEncoder))
            return
        for line in self.lines(found):
            self.stdout.write(line)

    def answer(self, options: dict[str, Any]) -> dict[str, Any]:
        """Do the work and say what came of it."""
        raise TypeError(f"{type(self).__name__} does not answer")

    def lines(self, found: dict[str, Any]) -> list[str]:
        """The answer for people."""
        width = max(len(name) for name in found)
        return [f"{name:{width}}  {_plain(value)}" for name, value in found.items()]


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(str(each) for each in value) or "-"
    return "-" if value is None or value == "" else str(value)
