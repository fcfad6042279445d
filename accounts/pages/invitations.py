"""The link of an invitation: it remembers the code and leads to the sign-up."""

from __future__ import annotations

from datetime import UTC, datetime

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache

from accounts.pages.adapter import INVITATION_SESSION_KEY, usable_invitation
from accounts.pages.visitors import user_of


@never_cache
def invite(request: HttpRequest, code: str) -> HttpResponse:
    """GET /invite/<code>/"""
    if user_of(request) is not None:
        return redirect("playground")
    if usable_invitation(code, now=datetime.now(UTC)) is None:
        return render(request, "accounts/invitation_over.html", status=404)
    request.session[INVITATION_SESSION_KEY] = code
    return redirect("account_signup")
