"""Give an account promotional credit."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.core.management.base import CommandError, CommandParser

from accounts.ledger import adjustments, queries
from accounts.ledger.models import Entry
from accounts.management.answers import AnsweringCommand
from accounts.management.people import find_account
from accounts.models import Account
from accounts.money import NotAnAmount, parse_usd, usd

_MAX_KEY = 100


class Command(AnsweringCommand):
    help = "Grant credit to an account, with a reason. With an idempotency key, once however often it is run."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--account", required=True, help="acc_... or the e-mail address of a member")
        parser.add_argument(
            "--usd", required=True, help="such as 25 or 0.134: digits and a point, six decimals at most"
        )
        parser.add_argument("--reason", required=True, help="kept with the entry")
        parser.add_argument("--mode", default="live", choices=("live", "test"))
        parser.add_argument("--idempotency-key", default="", help="the same key grants once")

    def answer(self, options: dict[str, Any]) -> dict[str, Any]:
        account, amount_micros = find_account(options["account"]), _amount(options["usd"])
        now = datetime.now(UTC)
        entry = _grant(account, amount_micros, options, now)
        if (entry.wallet.account_id, entry.wallet.mode, entry.amount_micros) != (
            account.pk,
            options["mode"],
            amount_micros,
        ):
            raise CommandError("That idempotency key was used for another grant; nothing was granted now.")
        return {
            "id": entry.public_id,
            "account": account.public_id,
            "mode": options["mode"],
            "amount_micros": amount_micros,
            "available_micros": queries.wallet_of(account.pk, options["mode"]).available_micros,
            "is_replay": entry.created_at != now,
        }

    def lines(self, found: dict[str, Any]) -> list[str]:
        verb = "Granted before" if found["is_replay"] else "Granted"
        return [
            f"{verb}: {usd(found['amount_micros'])} to {found['account']} ({found['mode']}), entry {found['id']}.",
            f"Available now: {usd(found['available_micros'])}.",
        ]


def _amount(text: str) -> int:
    try:
        return parse_usd(text)
    except NotAnAmount as error:
        raise CommandError(f"--usd {text!r}: {error}") from None


def _grant(account: Account, amount_micros: int, options: dict[str, Any], now: datetime) -> Entry:
    key, reason = options["idempotency_key"], options["reason"].strip()
    if len(key) > _MAX_KEY or len(reason) > 500:
        raise CommandError(f"An idempotency key has at most {_MAX_KEY} characters, a reason 500.")
    try:
        return adjustments.grant(
            account=account,
            mode=options["mode"],
            amount_micros=amount_micros,
            actor="command line",
            reason=reason,
            now=now,
            idempotency_key=f"grant_credit:{key}" if key else "",
        )
    except adjustments.AdjustmentRefused as refusal:
        raise CommandError(str(refusal)) from None
