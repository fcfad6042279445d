"""The billing page: buy credit, see payments, manage cards. What is paid is decided at Stripe, never here."""

from __future__ import annotations

import contextlib
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.identifiers import parse_public_id
from accounts.ledger import limits, queries
from accounts.ledger.models import Wallet
from accounts.models import Account
from accounts.money import plain_usd
from accounts.pages.billing_forms import AutoRechargeForm, RefundForm, TopUpForm
from accounts.pages.visitors import account_page, is_suspended, owner_page, user_of
from accounts.payments import auto_recharge, connection, customers, following, refunds, terms, top_ups
from accounts.payments.facts import StripeRefused, StripeUnavailable
from accounts.payments.models import AutoRecharge, BonusStep, Payment, Refund
from accounts.payments.models.payments import MICROS_PER_CENT, UNFINISHED
from accounts.request_address import origin_of

_SHOWN = 50
_NO_ANSWER = "Our payment provider does not answer. Try again in a moment."


@dataclass(frozen=True, slots=True)
class PaymentRow:
    """A payment as the list shows it, with what its owner may send back."""

    payment: Payment
    refundable_cents: int
    once: uuid.UUID


def _wallet(account: Account) -> Wallet | None:
    stripe = connection.current()
    return queries.wallet_of(account.pk, stripe.mode) if stripe else None


def _rows(wallet: Wallet, now: datetime) -> list[PaymentRow]:
    found = (
        Payment.objects.filter(wallet=wallet).prefetch_related("refunds", "disputes").order_by("-created_at")[:_SHOWN]
    )
    return [PaymentRow(each, _self_refundable(each, wallet, now), uuid.uuid4()) for each in found]


def _self_refundable(payment: Payment, wallet: Wallet, now: datetime) -> int:
    """Cents that the owner may send back without asking: unspent, and not too long ago."""
    since = now - timedelta(days=settings.NBP_SELF_REFUND_DAYS)
    is_open = settings.NBP_SELF_REFUND_DAYS and wallet.status == Wallet.Status.ACTIVE
    if payment.state != Payment.State.SUCCEEDED or payment.created_at < since or not is_open:
        return 0
    payment.wallet = wallet
    return refunds.refundable(payment).cents


def _page(request: HttpRequest, account: Account, form: TopUpForm, *, status: int = 200) -> HttpResponse:
    wallet = _wallet(account)
    stripe = connection.current()
    context: dict[str, Any] = {"form": form, "wallet": wallet, "is_fake": bool(stripe and stripe.fake)}
    context["limited"] = [_limits_of(each) for each in Wallet.objects.filter(account=account).order_by("mode")]
    if wallet is not None:
        auto = AutoRecharge.objects.filter(wallet=wallet).first()
        context |= {
            "rows": _rows(wallet, datetime.now(UTC)),
            "offers": terms.offered_cents(),
            "minimum_cents": terms.minimum_cents(),
            "maximum_cents": terms.maximum_cents(),
            "bonus_steps": BonusStep.objects.filter(is_active=True),
            "auto": auto,
            "auto_pause": auto.next_try_at if auto and _is_long_ahead(auto.next_try_at) else None,
            "auto_form": AutoRechargeForm(initial=_initial(auto)),
            "saved_method": auto_recharge.saved_method(wallet)[1],
            "has_customer": customers.known_customer(account, livemode=wallet.mode == "live"),
        }
    return render(request, "billing/page.html", context, status=status)


def _is_long_ahead(moment: datetime | None) -> bool:
    return moment is not None and moment > datetime.now(UTC) + timedelta(minutes=5)


def _limits_of(wallet: Wallet) -> dict[str, Any]:
    """A wallet with what it spent this month and the amounts as they are typed."""
    period = limits.period_of(wallet, now=datetime.now(UTC))
    return {
        "wallet": wallet,
        "used_micros": period.reserved_micros + period.spent_micros if period else 0,
        "limit": _typed(wallet.monthly_limit_micros),
        "low": _typed(wallet.low_balance_micros),
    }


def _typed(micros: int | None) -> str:
    return "" if micros is None else plain_usd(micros)


def _initial(auto: AutoRecharge | None) -> dict[str, Any]:
    if auto is None:
        return {"threshold": "5.00", "amount": "25.00", "ceiling": "100.00"}
    return {
        "is_enabled": auto.is_enabled,
        "threshold": plain_usd(auto.threshold_micros),
        "amount": plain_usd(auto.amount_cents * MICROS_PER_CENT),
        "ceiling": plain_usd(auto.monthly_ceiling_cents * MICROS_PER_CENT),
    }


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
@account_page
def billing(request: HttpRequest, account: Account) -> HttpResponse:
    """GET shows the page, POST starts a top-up and leads to where it is paid."""
    if request.method != "POST":
        return _page(request, account, TopUpForm(initial={"other": request.GET.get("amount", "")[:12]}))
    form = TopUpForm(request.POST)
    if not form.is_valid():
        return _page(request, account, form, status=422)
    try:
        payment = top_ups.start(
            account=account,
            amount_cents=form.cleaned_data["cents"],
            user=user_of(request),
            origin=origin_of(request),
            is_card_saved=form.cleaned_data["is_card_saved"],
            now=datetime.now(UTC),
        )
    except (terms.TopUpRefused, top_ups.TopUpUnavailable) as refusal:
        form.add_error(None, str(refusal))
        return _page(request, account, form, status=503 if isinstance(refusal, top_ups.TopUpUnavailable) else 422)
    return redirect(payment.checkout_url)


def _own_payment(account: Account, payment_id: str) -> Payment:
    ids = filter(None, [parse_public_id("pay", payment_id)])
    row = Payment.objects.select_related("wallet__account").filter(pk__in=ids, wallet__account=account).first()
    if row is None:
        raise Http404
    return row


@require_safe
@never_cache
@account_page
def top_up(request: HttpRequest, account: Account, payment_id: str) -> HttpResponse:
    """Where Stripe sends people back to: what became of their payment, asked from Stripe and not from the address."""
    payment = _own_payment(account, payment_id)
    if payment.state in UNFINISHED:
        # Without an answer the poller asks again.
        with contextlib.suppress(StripeUnavailable, StripeRefused, top_ups.TopUpUnavailable):
            payment = following.follow(payment, now=datetime.now(UTC))
    is_waiting = payment.state in UNFINISHED
    name = "billing/top_up_state.html" if getattr(request, "htmx", False) else "billing/top_up.html"
    return render(request, name, {"payment": payment, "is_waiting": is_waiting})


@require_POST
@owner_page
def set_auto_recharge(request: HttpRequest, account: Account) -> HttpResponse:
    """Set up, change or turn off automatic recharge."""
    form, wallet = AutoRechargeForm(request.POST), _wallet(account)
    if wallet is None or not form.is_valid():
        messages.error(request, "Automatic recharge was not changed: write three amounts, such as 25 or 12.50.")
        return redirect("billing")
    try:
        auto_recharge.set_up(
            wallet,
            is_enabled=form.cleaned_data["is_enabled"],
            threshold_micros=form.cleaned_data["threshold"] * MICROS_PER_CENT,
            amount_cents=form.cleaned_data["amount"],
            monthly_ceiling_cents=form.cleaned_data["ceiling"],
            now=datetime.now(UTC),
        )
    except terms.TopUpRefused as refusal:
        messages.error(request, f"Automatic recharge was not changed. {refusal}")
    else:
        word = "on" if form.cleaned_data["is_enabled"] else "off"
        messages.success(request, f"Automatic recharge is {word}.")
    return redirect("billing")


@require_POST
@owner_page
def portal(request: HttpRequest, account: Account) -> HttpResponse:
    """To Stripe's page with the account's cards and invoices."""
    stripe = connection.current()
    customer_id = customers.known_customer(account, livemode=stripe.gateway.livemode) if stripe else ""
    if stripe is None or not customer_id:
        messages.info(request, "There are no cards or invoices before the first top-up.")
        return redirect("billing")
    back = f"{origin_of(request)}{reverse('billing')}"
    try:
        return redirect(stripe.gateway.portal_url(customer_id=customer_id, return_url=back))
    except (StripeUnavailable, StripeRefused):
        messages.error(request, _NO_ANSWER)
        return redirect("billing")


@require_POST
@owner_page
def refund(request: HttpRequest, account: Account, payment_id: str) -> HttpResponse:
    """Send what is unspent of a payment back, where the operator lets owners do so."""
    payment, form, now = _own_payment(account, payment_id), RefundForm(request.POST), datetime.now(UTC)
    user = user_of(request)
    if not form.is_valid() or user is None:
        messages.error(request, "That form was not whole. Send it from the billing page.")
        return redirect("billing")
    once = uuid.uuid5(payment.pk, str(form.cleaned_data["once"]))
    is_known = payment.refunds.filter(pk=once).exists()
    if is_suspended(account):
        messages.error(request, "This account is suspended. Ask the operator of this service.")
        return redirect("billing")
    if not is_known and not _self_refundable(payment, payment.wallet, now):
        messages.error(request, "Nothing of this payment can be sent back from here. Ask the operator.")
        return redirect("billing")
    try:
        made = refunds.request(payment.pk, actor=user.email, reason="Asked for by its owner", now=now, once=once)
    except refunds.RefundNotPossible as refusal:
        messages.error(request, str(refusal))
    else:
        _tell_of_refund(request, made)
    return redirect("billing")


def _tell_of_refund(request: HttpRequest, made: Refund) -> None:
    amount = f"${made.amount_cents / 100:,.2f}"
    if made.state == Refund.State.FAILED:
        messages.error(request, f"{amount} could not be sent back; your credit is as it was. Ask the operator.")
    elif made.state == Refund.State.SUCCEEDED:
        messages.success(request, f"{amount} go back to where they came from.")
    else:
        messages.success(request, f"{amount} are on their way back to where they came from.")
