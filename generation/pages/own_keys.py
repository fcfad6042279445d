"""An account's own provider keys: added, replaced, removed. A key goes in and never comes out."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST

from accounts.models import Account
from accounts.pages.visitors import account_page, owner_page
from generation.channels import probing
from generation.channels.models import Channel

# Providers whose key alone leads to them.
KINDS = {
    "gemini": "Google AI Studio (Gemini API)",
    "openai_chat": "OpenRouter",
    "ai_gateway": "Vercel AI Gateway",
    "bfl": "Black Forest Labs",
}


class OwnKeyForm(forms.Form):
    """A provider and its key."""

    kind = forms.ChoiceField(label="Provider", choices=list(KINDS.items()))
    key = forms.CharField(
        label="Key",
        max_length=500,
        widget=forms.PasswordInput(render_value=False, attrs={"autocomplete": "off"}),
        help_text="Kept encrypted, used for your requests only, and never shown again.",
    )
    is_house_allowed = forms.BooleanField(
        label="Where it fails, use this service's own channels, at the usual price", required=False
    )

    def clean_key(self) -> str:
        key = str(self.cleaned_data["key"]).strip()
        if not key or not key.isascii() or not key.isprintable() or " " in key:
            raise forms.ValidationError("This is no API key: it has blanks or letters that a key cannot have.")
        return key


@account_page
def own_keys(request: HttpRequest, account: Account) -> HttpResponse:
    """The account's own keys and how they are doing."""
    return _page(request, account, OwnKeyForm())


def _page(request: HttpRequest, account: Account, form: OwnKeyForm, status: int = 200) -> HttpResponse:
    rows = Channel.objects.filter(account=account).order_by("kind")
    shown = [{"row": row, "provider": KINDS.get(row.kind, row.kind), "state": _state(row)} for row in rows]
    return render(request, "accounts/own_keys.html", {"rows": shown, "form": form}, status=status)


def _state(row: Channel) -> str:
    """For its owner: what the provider said stays with the operator."""
    if row.disabled_reason:
        return "refused by the provider: replace it"
    condition = probing.condition(row, now=timezone.now())
    return "in use" if condition.is_ready else "waiting for the provider"


@require_POST
@owner_page
def add(request: HttpRequest, account: Account) -> HttpResponse:
    """Add a key, or put another in its place."""
    form = OwnKeyForm(request.POST)
    if not form.is_valid():
        return _page(request, account, form, status=422)
    data: dict[str, Any] = form.cleaned_data
    row = Channel.objects.filter(account=account, kind=data["kind"]).first() or _new(account, data["kind"])
    row.set_secret(data["key"])
    row.is_house_allowed = data["is_house_allowed"]
    row.is_enabled, row.disabled_reason, row.failures_in_a_row, row.cool_until = True, "", 0, None
    row.save()
    messages.success(request, f"Your key for {KINDS[row.kind]} is kept. Live images use it from now on.")
    return redirect("own-keys")


def _new(account: Account, kind: str) -> Channel:
    """The last digits of the account's id tell such channels apart; customers see the name in their attempts."""
    return Channel(account=account, kind=kind, mode="live", priority=0, name=f"own {kind} {account.pk.hex[-12:]}")


@require_POST
@owner_page
def remove(request: HttpRequest, account: Account, kind: str) -> HttpResponse:
    """Forget a key. The row stays, without it: attempts point to it."""
    row = Channel.objects.filter(account=account, kind=kind).first()
    if row is None:
        raise Http404("There is no key of yours for that provider.")
    row.set_secret("")
    row.is_enabled = False
    row.save()
    messages.success(request, "The key is forgotten.")
    return redirect("own-keys")
