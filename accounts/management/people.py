"""Finds and makes the people and accounts that commands and the admin are told of by e-mail address or id."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from allauth.account.models import EmailAddress
from django.core.exceptions import ValidationError
from django.core.management.base import CommandError
from django.core.validators import validate_email

from accounts.identifiers import parse_public_id
from accounts.models import Account, User, account_of


@dataclass(frozen=True, slots=True)
class Person:
    """A user; `password` is the one just set, None where the user keeps the one they had."""

    user: User
    password: str | None


def checked_email(text: str) -> str:
    """The address in the one form we store. Raises CommandError if it is none."""
    email = text.strip().lower()
    try:
        validate_email(email)
    except ValidationError:
        raise CommandError(f"{text!r} is not an e-mail address.") from None
    return email


def find_user(email: str) -> User | None:
    """The user with that address, however it is written; a verified second address is the user's too."""
    known = EmailAddress.objects.filter(email__iexact=email, verified=True).select_related("user").first()
    return User.objects.filter(email__iexact=email).first() or (known.user if known else None)


def make_user(email: str, password: str | None) -> Person:
    """A new user who can sign in at once; without a password given, one is made."""
    chosen = password or secrets.token_urlsafe(12)
    user = User.objects.create_user(email, chosen)
    vouch_for(user)
    return Person(user, chosen)


def vouch_for(user: User) -> None:
    """Take the user's address for verified, on the operator's word: signing in asks for that."""
    EmailAddress.objects.filter(user=user).exclude(email__iexact=user.email).update(primary=False)
    EmailAddress.objects.filter(email__iexact=user.email, user=user).delete()
    EmailAddress.objects.create(user=user, email=user.email.lower(), verified=True, primary=True)


def find_account(text: str) -> Account:
    """The account behind an acc_ id or a member's e-mail address. Raises CommandError if there is none."""
    account_id = parse_public_id("acc", text)
    if account_id is not None:
        account = Account.objects.filter(pk=account_id).first()
    else:
        user = find_user(text)
        account = account_of(user) if user else None
    if account is None:
        raise CommandError(f"There is no account {text!r}: give its acc_... id or the e-mail address of a member.")
    return account
