"""Make an operator, or give one back the admin."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from accounts.management.answers import AnsweringCommand
from accounts.management.people import Person, checked_email, find_user, make_user, vouch_for
from accounts.models import User
from accounts.transactions import write_transaction


class Command(AnsweringCommand):
    help = "Make a superuser for the admin with a verified address. A user who exists is promoted."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--email", required=True)
        parser.add_argument(
            "--password", default="", help="one is made and shown for a new user if left out (arguments can be seen)"
        )

    def answer(self, options: dict[str, Any]) -> dict[str, Any]:
        email, password = checked_email(options["email"]), options["password"] or None
        with write_transaction():
            known = find_user(email)
            person = make_user(email, password) if known is None else _kept(known, password)
            User.objects.filter(pk=person.user.pk).update(is_staff=True, is_superuser=True, is_active=True)
        return {"email": person.user.email, "password": person.password, "is_new": known is None}


def _kept(user: User, password: str | None) -> Person:
    if password:
        user.set_password(password)
        user.save(update_fields=["password"])
    vouch_for(user)
    return Person(user, password)
