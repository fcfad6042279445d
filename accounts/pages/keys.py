"""The keys page: make, pause, rotate and revoke API keys. A secret is in one answer and nowhere after it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from accounts import keys
from accounts.identifiers import parse_public_id
from accounts.ledger import queries as ledger_queries
from accounts.ledger.models import BudgetPeriod
from accounts.models import Account, ApiKey
from accounts.pages.forms import KeyForm
from accounts.pages.tickets import new_ticket, redeem
from accounts.pages.visitors import account_page, is_suspended, user_of
from accounts.request_address import origin_of

_SHOWN = 200
_SUSPENDED = "This account is suspended: it cannot make or change keys. Ask the operator of this service."
_SENT_TWICE = "That form was sent before. A key's secret is shown only once; make another key if it was lost."


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key as the list shows it."""

    api_key: ApiKey
    status: str
    budget: BudgetPeriod | None

    @property
    def is_usable(self) -> bool:
        return self.status in ("active", "replaced")


def _status(api_key: ApiKey, replaced: set[Any], now: datetime) -> str:
    if api_key.revoked_at is not None:
        return "revoked"
    if api_key.expires_at is not None and api_key.expires_at <= now:
        return "expired"
    if api_key.disabled_at is not None:
        return "disabled"
    return "replaced" if api_key.pk in replaced else "active"


def _rows(account: Account, now: datetime) -> list[KeyRow]:
    found = list(ApiKey.objects.filter(account=account).select_related("created_by").order_by("-created_at")[:_SHOWN])
    replaced = {each.rotated_from_id for each in found}
    return [KeyRow(each, _status(each, replaced, now), ledger_queries.budget_of(each, now=now)) for each in found]


def _page(request: HttpRequest, account: Account, form: KeyForm, *, status: int = 200) -> HttpResponse:
    context = {"rows": _rows(account, datetime.now(UTC)), "form": form, "ticket": new_ticket()}
    return render(request, "accounts/keys.html", context, status=status)


def _shown_once(request: HttpRequest, issued: keys.IssuedKey, replaces: ApiKey | None = None) -> HttpResponse:
    """The only answer that ever holds this secret."""
    origin = origin_of(request)
    curl = (
        f"curl -sS {origin}/api/v1/generations \\\n"
        f"  -H 'Authorization: Bearer {issued.raw}' \\\n"
        "  -H 'Content-Type: application/json' -H 'Prefer: wait=60' \\\n"
        '  -d \'{"prompt": "A nano banana on a marble table, studio light"}\''
    )
    context = {
        "api_key": issued.api_key,
        "raw": issued.raw,
        "curl": curl,
        "replaces": replaces,
        "back_path": reverse("keys"),
    }
    return render(request, "accounts/key_once.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
@account_page
def api_keys(request: HttpRequest, account: Account) -> HttpResponse:
    """GET lists the account's keys, POST makes one and shows it once."""
    if request.method != "POST":
        return _page(request, account, KeyForm())
    form = KeyForm(request.POST)
    if is_suspended(account):
        form.add_error(None, _SUSPENDED)
    if not form.is_valid():
        return _page(request, account, form, status=422)
    if not redeem(request, request.POST.get("ticket", "")):
        messages.warning(request, _SENT_TWICE)
        return redirect("keys")
    issued = keys.issue(
        account=account,
        mode=form.cleaned_data["mode"],
        name=form.cleaned_data["name"],
        created_by=user_of(request),
        **form.limits(),
    )
    return _shown_once(request, issued)


def _own_key(account: Account, key_id: str) -> ApiKey:
    ids = filter(None, [parse_public_id("key", key_id)])
    row = ApiKey.objects.select_related("account").filter(pk__in=ids, account=account).first()
    if row is None:
        raise Http404
    return row


@require_POST
@never_cache
@account_page
def rotate(request: HttpRequest, account: Account, key_id: str) -> HttpResponse:
    """A new secret with the same limits, shown once; the old key goes on for a day."""
    now = datetime.now(UTC)
    api_key = _own_key(account, key_id)
    if is_suspended(account):
        messages.error(request, _SUSPENDED)
    elif _status(api_key, set(), now) != "active":
        messages.error(request, "Only a working key can be rotated.")
    elif not redeem(request, request.POST.get("ticket", "")):
        messages.warning(request, _SENT_TWICE)
    else:
        return _shown_once(request, keys.rotate(api_key, now=now, created_by=user_of(request)), replaces=api_key)
    return redirect("keys")


@require_POST
@account_page
def change(request: HttpRequest, account: Account, key_id: str, action: str) -> HttpResponse:
    """Disable, enable or revoke a key."""
    now = datetime.now(UTC)
    api_key = _own_key(account, key_id)
    if action == "revoke":
        keys.revoke(api_key, now=now)
        messages.success(request, f"{api_key.name} was revoked. It never works again.")
    elif is_suspended(account):
        messages.error(request, _SUSPENDED)
    elif action == "disable":
        keys.disable(api_key, now=now)
        messages.success(request, f"{api_key.name} is disabled until you enable it.")
    else:
        keys.enable(api_key)
        messages.success(request, f"{api_key.name} works again.")
    return redirect("keys")
