"""Open an account for a person, who is made if need be."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.core.management.base import CommandError, CommandParser

from accounts import registration
from accounts.management.answers import AnsweringCommand
from accounts.management.people import Person, checked_email, find_user, make_user
from accounts.models import account_of
from accounts.transactions import write_transaction


class Command(AnsweringCommand):
    help = "Open an account with its wallets for a user, who is made (with a verified address) if there is none."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--email", required=True, help="the owner's address")
        parser.add_argument("--name", default="", help="the account's name; the address if left out")
        parser.add_argument(
            "--password", default="", help="for a new user; one is made and shown if left out (arguments can be seen)"
        )

    def answer(self, options: dict[str, Any]) -> dict[str, Any]:
        email = checked_email(options["email"])
        owner = self._owner(email, options["password"])
        name = options["name"].strip() or email
        if len(name) > 200:
            raise CommandError("The name has more than 200 characters.")
        account = registration.open_account(name=name, owner=owner.user, now=datetime.now(UTC))
        return {"id": account.public_id, "name": account.name, "email": owner.user.email, "password": owner.password}

    def _owner(self, email: str, password: str) -> Person:
        user = find_user(email)
        if user is None:
            with write_transaction():
                return make_user(email, password or None)
        account = account_of(user)
        if account is not None:
            raise CommandError(f"{email} has an account: {account.public_id}.")
        if password:
            raise CommandError(f"{email} is a user already: leave the password out, it stays as it is.")
        return Person(user, None)
