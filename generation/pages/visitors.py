"""The visitor as a Requester: the account, the chosen mode and the user, for the views of this package."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec

from django.http import HttpRequest, HttpResponse

from accounts.authentication import Requester
from accounts.models import Account
from accounts.pages.visitors import account_page
from generation.pages.context import visit_of

P = ParamSpec("P")
RequesterView = Callable[Concatenate[HttpRequest, Requester, P], HttpResponse]


def requester_page(view: RequesterView[P]) -> Callable[Concatenate[HttpRequest, P], HttpResponse]:
    """Like `account_page`, with the account in the mode the visitor chose."""

    @account_page
    @functools.wraps(view)
    def guarded(request: HttpRequest, account: Account, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
        requester = visit_of(request).requester
        assert requester is not None, f"account {account.pk} has no requester"
        return view(request, requester, *args, **kwargs)

    return guarded
