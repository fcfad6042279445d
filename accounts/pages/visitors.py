"""Who looks at a page: a signed-in user with the account they act for. Everybody else is shown the way."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec

from django.contrib import messages
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render, resolve_url
from django_htmx.http import HttpResponseClientRedirect

from accounts.models import Account, Membership, User, account_of

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponse]
AccountView = Callable[Concatenate[HttpRequest, Account, P], HttpResponse]


def user_of(request: HttpRequest) -> User | None:
    """The signed-in user; None also where the request never got as far as a session."""
    user = getattr(request, "user", None)
    return user if isinstance(user, User) and user.is_authenticated else None


def account_for(request: HttpRequest) -> Account | None:
    """The account the signed-in user acts for, looked up once per request."""
    if not hasattr(request, "_account"):
        user = user_of(request)
        request._account = account_of(user) if user else None  # type: ignore[attr-defined]
    found: Account | None = request._account  # type: ignore[attr-defined]
    return found


def is_suspended(account: Account) -> bool:
    """Whether the account may look at what it has, but start nothing new."""
    return account.status != Account.Status.ACTIVE


def account_page(view: AccountView[P]) -> View[P]:
    """Hand the visitor's account to a view; send strangers to the login, and staff without an account a kind word."""

    @functools.wraps(view)
    def guarded(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
        if user_of(request) is None:
            return _to_login(request)
        account = account_for(request)
        if account is None:
            return render(request, "accounts/no_account.html", status=403)
        return view(request, account, *args, **kwargs)

    return guarded


def owner_page(view: AccountView[P]) -> View[P]:
    """Like `account_page`, for what only owners decide: other members are sent back to the billing page."""

    @account_page
    @functools.wraps(view)
    def guarded(request: HttpRequest, account: Account, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
        own = Membership.objects.filter(account=account, user=user_of(request), role=Membership.Role.OWNER)
        if not own.exists():
            messages.error(request, "Only an owner of this account can do that.")
            return redirect("billing")
        return view(request, account, *args, **kwargs)

    return guarded


def _to_login(request: HttpRequest) -> HttpResponse:
    """A full redirect; a fragment's request sends the whole page there instead of swapping a login form in."""
    if getattr(request, "htmx", False):
        here = request.htmx.current_url_abs_path or "/"  # type: ignore[attr-defined]
        login = redirect_to_login(here, resolve_url("account_login"))
        return HttpResponseClientRedirect(login.url)
    return redirect_to_login(request.get_full_path(), resolve_url("account_login"))
