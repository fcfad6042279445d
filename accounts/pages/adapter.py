"""Sign-up policy for django-allauth: open, by invitation, or closed; and the account every new user gets."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core.exceptions import ImmediateHttpResponse
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db.models import Q
from django.http import HttpRequest
from django.shortcuts import redirect

from accounts import registration
from accounts.models import Invitation, User

INVITATION_SESSION_KEY = "invitation"


def usable_invitation(code: str, *, now: datetime) -> Invitation | None:
    """The invitation behind a code, if it is unused and not expired."""
    rows = Invitation.objects.filter(Q(expires_at=None) | Q(expires_at__gt=now), code=code, used_at=None)
    return rows.first() if code else None


class SignupPolicyAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    """NBP_SIGNUP decides who may sign up."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        if settings.NBP_SIGNUP == "invite":
            return usable_invitation(request.session.get(INVITATION_SESSION_KEY, ""), now=datetime.now(UTC)) is not None
        return bool(settings.NBP_SIGNUP == "open")

    def clean_email(self, email: str) -> str:
        """An invitation that names an address is for that address. Other forms than the sign-up ask here too."""
        match = self.request.resolver_match
        if match is None or match.url_name != "account_signup":
            return email
        code = self.request.session.get(INVITATION_SESSION_KEY, "")
        invitation = usable_invitation(code, now=datetime.now(UTC))
        if invitation is not None and invitation.email and invitation.email.lower() != email.lower():
            raise ValidationError("This invitation is for another e-mail address.")
        return email

    def save_user(self, request: HttpRequest, user: User, form: Any, commit: bool = True) -> User:
        now = datetime.now(UTC)
        code = request.session.pop(INVITATION_SESSION_KEY, "")
        is_claimed = Invitation.objects.filter(code=code, used_at=None).update(used_at=now)
        if settings.NBP_SIGNUP == "invite" and not is_claimed:
            # Somebody else used the same link between this form's check and now.
            raise ImmediateHttpResponse(redirect("account_signup"))
        saved: User = super().save_user(request, user, form, commit=commit)
        registration.open_account(name=saved.email, owner=saved, now=now)
        return saved
