"""Replay requests under another price book, lane or choice of channels, and say what they would cost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from accounts.management.answers import AnsweringCommand
from accounts.money import usd
from generation import forecasts, price_books
from generation.contract import Refusal
from generation.forecasts import Line, Terms
from generation.preferences import LANES

_COLUMNS = ("requests", "list_cost_micros", "cost_micros", "price_micros")


class Command(AnsweringCommand):
    help = (
        "Say what requests would cost: FILE has one JSON object a line, a body of a create with count, "
        "deadline_seconds, draft and repeat_of beside its fields. Nothing is made and nobody is charged."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("file", nargs="?", help="JSON lines; - reads standard input")
        parser.add_argument("--last-month", action="store_true", help="what was delivered in the month before this one")
        parser.add_argument("--lane", choices=LANES, default="", help="take every request in this lane")
        parser.add_argument(
            "--channels",
            metavar="KIND,KIND",
            help=f"kinds of channels in order; default: the cheapest of {', '.join(forecasts.OFFICIAL)}",
        )
        parser.add_argument("--price-book", metavar="FILE", help='JSON with "prices" and "costs", laid over the book')
        parser.add_argument(
            "--thinking-tokens",
            type=int,
            default=Terms().thinking_tokens,
            metavar="N",
            help="thinking of an image where it was not measured (default: %(default)s)",
        )

    def answer(self, options: dict[str, Any]) -> dict[str, Any]:
        if bool(options["file"]) == options["last_month"]:
            raise CommandError("Give a FILE of requests, or --last-month.")
        now = datetime.now(UTC)
        try:
            book = price_books.current(at=now)
            if options["price_book"]:
                book = price_books.laid_over(book, json.loads(_text(options["price_book"])))
            lines = _last_month(now) if options["last_month"] else _lines(_text(options["file"]))
            return forecasts.forecast(lines, book, _terms(options)).as_data()
        except Refusal as refusal:
            raise CommandError(refusal.message) from None
        except (KeyError, TypeError, ValueError) as error:
            raise CommandError(f"This is no such file: {error}") from None

    def lines(self, found: dict[str, Any]) -> list[str]:
        told = [f"{'':28}{'requests':>10}{'list cost':>14}{'cost':>14}{'price':>14}{'margin':>14}", _row("all", found)]
        for group in ("by_lane", "by_model"):
            told += ["", *(_row(name, each) for name, each in found[group].items())]
        return told


def _row(name: str, each: dict[str, Any]) -> str:
    requests, list_cost, cost, price = (int(each[column]) for column in _COLUMNS)
    money = "".join(f"{usd(micros):>14}" for micros in (list_cost, cost, price, price - cost))
    return f"{name:28}{requests:>10,}{money}"


def _terms(options: dict[str, Any]) -> Terms:
    kinds = tuple(filter(None, (options["channels"] or "").replace(" ", "").split(",")))
    return Terms(
        lane=options["lane"],
        kinds=kinds or forecasts.OFFICIAL,
        is_cheapest=not kinds,
        thinking_tokens=max(0, options["thinking_tokens"]),
    )


def _text(name: str) -> str:
    try:
        return Path("/dev/stdin" if name == "-" else name).read_text(encoding="utf-8")
    except OSError as error:
        raise CommandError(f"{name} cannot be read: {error.strerror}") from None


def _lines(text: str) -> Iterator[Line]:
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            try:
                yield _line(json.loads(line))
            except (TypeError, ValueError, AttributeError) as error:
                raise CommandError(f"Line {number} is no request: {error}") from None


def _line(body: dict[str, Any]) -> Line:
    references = body.get("references") or ()
    return Line(
        model=_text_of(body, "model"),
        image_size=_text_of(body, "image_size"),
        prompt=_text_of(body, "prompt"),
        lane=_text_of(body, "lane"),
        count=_whole(body, "count", 1) * _whole(body, "n", 1),
        reference_count=len(references) + (1 if body.get("previous") else 0),
        is_grounded=bool(body.get("search_grounding")),
        deadline_seconds=_whole(body, "deadline_seconds", 0) or None,
        is_draft=bool(body.get("draft")),
        is_repeat=body.get("repeat_of") not in (None, ""),
    )


def _text_of(body: dict[str, Any], field: str) -> str:
    value = body.get(field) or ""
    if not isinstance(value, str):
        raise ValueError(f"{field} is a text")
    return value


def _whole(body: dict[str, Any], field: str, default: int) -> int:
    value = body.get(field, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{field} is a whole number")
    return value


def _last_month(now: datetime) -> Iterator[Line]:
    until = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    since = (until - timedelta(days=1)).replace(day=1)
    return price_books.delivered(since=since, until=until)
