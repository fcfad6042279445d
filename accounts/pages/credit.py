"""What else an owner sets about credit: redeem a code, limit the month's spending, be told of a low balance."""

from __future__ import annotations

from datetime import UTC, datetime

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from accounts.ledger import adjustments
from accounts.ledger.models import Wallet
from accounts.models import Account
from accounts.money import usd
from accounts.pages.billing_forms import LimitsForm, RedeemForm
from accounts.pages.visitors import account_page, owner_page
from accounts.payments.models.payments import MICROS_PER_CENT
from accounts.promotions import codes


@require_POST
@account_page
def redeem(request: HttpRequest, account: Account) -> HttpResponse:
    """Turn a code into credit."""
    form = RedeemForm(request.POST)
    if not form.is_valid():
        messages.error(request, "Write the code you were given.")
        return redirect("billing")
    try:
        entry = codes.redeem(account, form.cleaned_data["code"], now=datetime.now(UTC))
    except codes.RedemptionRefused as refusal:
        messages.error(request, str(refusal))
    else:
        messages.success(request, f"{usd(entry.amount_micros)} are in your {entry.wallet.mode} wallet.")
    return redirect("billing")


@require_POST
@owner_page
def set_limits(request: HttpRequest, account: Account) -> HttpResponse:
    """Set a wallet's monthly spending limit and low balance."""
    form = LimitsForm(request.POST)
    if not form.is_valid():
        messages.error(request, "The limits were not changed: write dollars, such as 25 or 12.50, or nothing.")
        return redirect("billing")
    data = form.cleaned_data
    limit, low = (None if data[name] is None else data[name] * MICROS_PER_CENT for name in _AMOUNTS)
    adjustments.set_spending_limit(account=account, mode=data["mode"], limit_micros=limit, now=datetime.now(UTC))
    Wallet.objects.filter(account=account, mode=data["mode"]).update(low_balance_micros=low, is_low_told=False)
    messages.success(request, f"The limits of the {data['mode']} wallet are set.")
    return redirect("billing")


_AMOUNTS = ("monthly_limit", "low_balance")
