"""The Test/Live switch: a choice of the session, not of the account."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

from accounts.models import Account
from accounts.pages.visitors import account_page
from generation import queries
from generation.pages.context import MODE_SESSION_KEY


@require_POST
@account_page
def switch(request: HttpRequest, account: Account) -> HttpResponse:
    """POST /mode/ with `mode` and the page to go back to."""
    mode = request.POST.get("mode")
    if mode in ("live", "test"):
        request.session[MODE_SESSION_KEY] = mode
    if mode == "live" and not queries.live_is_open():
        messages.warning(request, "There is no live channel yet, so live images cannot be made here so far.")
    back = request.POST.get("next", "")
    is_ours = url_has_allowed_host_and_scheme(back, {request.get_host()}, require_https=request.is_secure())
    return redirect(back if is_ours else "playground")
