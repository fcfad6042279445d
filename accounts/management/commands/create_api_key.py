"""Issue an API key and show it, once."""

from __future__ import annotations

import ipaddress
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.core.management.base import CommandError, CommandParser

from accounts import keys
from accounts.management.answers import AnsweringCommand
from accounts.management.people import find_account
from accounts.models import ApiKey
from accounts.money import NotAnAmount, parse_usd, usd

_COUNTS = ("requests_per_minute", "concurrency", "max_n", "max_references")
_SIZES = ("1K", "2K", "4K")


class Command(AnsweringCommand):
    help = "Issue an API key. It is shown this once; only a hash of it is kept."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--account", required=True, help="acc_... or the e-mail address of a member")
        parser.add_argument("--mode", required=True, choices=("live", "test"))
        parser.add_argument("--name", required=True)
        parser.add_argument("--budget-usd", help="what the key may spend, such as 5 or 2.50")
        parser.add_argument("--budget-period", default="none", choices=ApiKey.Period.values, help="when it starts anew")
        parser.add_argument("--expires", help="a day (the key works until it ends, UTC) or an ISO date and time")
        parser.add_argument("--models", default="", help="catalogue names, parted by commas; all if left out")
        parser.add_argument("--scopes", default=",".join(keys.SCOPES), help="default: %(default)s")
        for name in ("requests-per-minute", "concurrency", "max-n"):
            parser.add_argument(f"--{name}", type=int)
        parser.add_argument("--max-references", type=int, help="0 allows none")
        parser.add_argument("--max-image-size", default="", choices=_SIZES)
        parser.add_argument("--no-grounding", action="store_true")
        parser.add_argument("--inline-images", action="store_true", help="chats answer with a link in the text, too")
        parser.add_argument("--ip-list", default="", help="addresses and networks, parted by commas")

    def answer(self, options: dict[str, Any]) -> dict[str, Any]:
        account = find_account(options["account"])
        name = options["name"].strip()
        if not 0 < len(name) <= 100:
            raise CommandError("The name has between 1 and 100 characters.")
        limits = _limits(options, now=datetime.now(UTC))
        issued = keys.issue(account=account, mode=options["mode"], name=name, **limits)
        return {
            "id": issued.api_key.public_id,
            "key": issued.raw,
            "account": account.public_id,
            "name": name,
            "mode": options["mode"],
            **{name: value for name, value in limits.items() if value not in (None, "", [])},
        }

    def lines(self, found: dict[str, Any]) -> list[str]:
        shown = {name: value for name, value in found.items() if name != "budget_micros"}
        if "budget_micros" in found:
            shown["budget"] = usd(found["budget_micros"])
        return [*super().lines(shown), "The key is shown this once; only a hash of it is kept."]


def _limits(options: dict[str, Any], *, now: datetime) -> dict[str, Any]:
    return {
        "scopes": _scopes(options["scopes"]),
        "budget_micros": _budget(options["budget_usd"]),
        "budget_period": options["budget_period"],
        "expires_at": _expires_at(options["expires"], now),
        "allowed_models": _list(options["models"]),
        "ip_list": [_network(each) for each in _list(options["ip_list"])],
        "max_image_size": options["max_image_size"],
        "is_grounding_allowed": not options["no_grounding"],
        "are_images_inline": options["inline_images"],
        **{name: _count(name, options[name]) for name in _COUNTS},
    }


def _list(text: str) -> list[str]:
    return list(dict.fromkeys(text.replace(",", " ").split()))


def _scopes(text: str) -> list[str]:
    found = _list(text)
    unknown = [each for each in found if each not in keys.SCOPES]
    if unknown or not found:
        raise CommandError(f"Scopes are {', '.join(keys.SCOPES)}, not {', '.join(unknown) or 'none'}.")
    return found


def _budget(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return parse_usd(text, is_zero_allowed=True)
    except NotAnAmount as error:
        raise CommandError(f"--budget-usd {text!r}: {error}") from None


def _expires_at(text: str | None, now: datetime) -> datetime | None:
    if text is None:
        return None
    try:
        moment = _moment(text.strip())
    except (ValueError, OverflowError):
        raise CommandError(f"--expires {text!r}: write a day (2026-12-31) or 2026-12-31T18:00:00+00:00.") from None
    if moment <= now:
        raise CommandError(f"--expires {text!r} is in the past.")
    return moment


def _moment(text: str) -> datetime:
    if len(text) == len("2026-12-31"):
        return datetime.combine(date.fromisoformat(text) + timedelta(days=1), time(), UTC)
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _network(text: str) -> str:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise CommandError(f"--ip-list: {text!r} is neither an address nor a network.") from None
    return text


def _count(name: str, value: int | None) -> int | None:
    least = 0 if name == "max_references" else 1
    if value is not None and not least <= value <= 1_000_000:
        raise CommandError(f"--{name.replace('_', '-')} is between {least} and 1000000.")
    return value
