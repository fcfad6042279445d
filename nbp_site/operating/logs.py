"""How log lines look: words or JSON, each with the ids of the work in hand, and never a customer's words.

An event's own facts travel in `extra={"facts": {...}}`. Other extras, such as a request object, are left out: their
text may hold a signed link.
"""

from __future__ import annotations

import logging
import re
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from pythonjsonlogger.json import JsonFormatter

from accounts import request_context

_Exception = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
# PostgreSQL quotes the row that broke a rule, prompt and all, from DETAIL to the end of its message.
_ROW = re.compile(r"DETAIL:.*?(?=\n\nThe above exception|\n\nDuring handling|\nTraceback|\Z)", re.DOTALL)
_LEFT_OUT = "DETAIL: (left out)"


def discreet(text: str) -> str:
    """The text of an error without the rows that a database quotes in it."""
    return _ROW.sub(_LEFT_OUT, text)


class InHand(logging.Filter):
    """Gives each record the ids of the work it belongs to, and a route where the framework names a path."""

    def filter(self, record: logging.LogRecord) -> bool:
        request = getattr(record, "request", None)
        if isinstance(request, HttpRequest) and isinstance(record.args, tuple):
            # A path may be a one-time link to a new password or into an account.
            route = f"/{request.resolver_match.route}" if request.resolver_match else "unmatched"
            record.args = tuple(route if each == request.path else each for each in record.args)
        ids = dict(request_context.in_hand())
        record.in_hand, record.ids = ids, " ".join(ids.values()) or "-"
        return True


class LineLog(logging.Formatter):
    """One line of words; a traceback below it where there is one."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s [%(ids)s] %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        return discreet(super().format(record))


class JsonLog(JsonFormatter):
    """One JSON object a line, with the names that Google Cloud Logging reads: time, severity, message."""

    def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
        log_data["time"] = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        log_data["severity"] = record.levelname
        log_data["logger"] = record.name
        log_data["message"] = discreet(record.getMessage())
        log_data.update(getattr(record, "in_hand", {}))
        log_data.update(getattr(record, "facts", {}))
        if message_dict.get("exc_info"):
            log_data["exception"] = message_dict["exc_info"]

    def formatException(self, ei: _Exception) -> str:  # noqa: N802
        return discreet(str(super().formatException(ei)))


def logging_settings(*, form: str, level: str, library_level: str) -> dict[str, Any]:
    """Django's LOGGING: everything to standard error, as `line` or `json`."""
    formatters = {"line": LineLog, "json": JsonLog}
    if form not in formatters:
        raise ImproperlyConfigured(f"NBP_LOG_FORMAT must be line or json, not {form!r}.")
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"in_hand": {"()": InHand}},
        "formatters": {form: {"()": formatters[form]}},
        "handlers": {"console": {"class": "logging.StreamHandler", "formatter": form, "filters": ["in_hand"]}},
        "root": {"handlers": ["console"], "level": library_level},
        "loggers": {name: {"level": level} for name in ("accounts", "generation", "nbp_site")},
    }
