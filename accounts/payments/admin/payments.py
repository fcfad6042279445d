"""Payments, refunds and disputes: all can be read, a payment can be asked for again or sent back."""

from __future__ import annotations

import uuid
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html

from accounts.ledger.admin.amounts import UsdField, dollars
from accounts.ledger.admin.columns import (
    ReadOnlyAdmin,
    ReadOnlyInline,
    account_filter,
    account_link,
    fixed_filter,
    link,
    mode_filter,
    usd,
    when,
)
from accounts.ledger.admin.form_pages import form_page
from accounts.ledger.admin.lists import period_filter
from accounts.ledger.admin.rows import wallet_mode
from accounts.payments import following, refunds, top_ups
from accounts.payments.facts import StripeRefused, StripeUnavailable
from accounts.payments.models import Customer, Dispute, Payment, PaymentEntry, Refund
from accounts.payments.models.payments import MICROS_PER_CENT

_CANNOT = (StripeUnavailable, StripeRefused, top_ups.TopUpUnavailable)


def cents(name: str, label: str) -> Any:
    """A column of cents as dollars."""

    def column(row: Any) -> str:
        return dollars(getattr(row, name) * MICROS_PER_CENT)

    column.__name__ = name.replace("_cents", "_usd")
    return admin.display(description=label, ordering=name)(column)


@admin.display(description="payment", ordering="payment__id")
def payment_link(row: Any) -> Any:
    """The payment a row is of."""
    return link("payments_payment_change", row.payment.pk, row.payment.public_id)


class RefundForm(forms.Form):
    """How much goes back; never more than is unspent."""

    amount_micros = UsdField(label="Amount (USD, without tax)", help_text="Whole cents.")
    reason = forms.CharField(max_length=500, help_text="Kept with the entry; the account's owner sees it.")
    once = forms.UUIDField(widget=forms.HiddenInput, initial=uuid.uuid4)

    def clean_amount_micros(self) -> int:
        micros: int = self.cleaned_data["amount_micros"]
        if micros % MICROS_PER_CENT:
            raise forms.ValidationError("Stripe sends whole cents.")
        return micros


class RefundInline(ReadOnlyInline):
    """What of the payment went back."""

    model = Refund
    fields: ClassVar[Any] = (when("created_at", "asked"), cents("amount_cents", "amount"), "state", "reason", "error")


class DisputeInline(ReadOnlyInline):
    """What of the payment was called back."""

    model = Dispute
    fields: ClassVar[Any] = ("stripe_dispute_id", cents("amount_cents", "amount"), "status", "reason")


class EntryInline(ReadOnlyInline):
    """What the payment moved in the ledger."""

    model = PaymentEntry

    @admin.display(description="entry")
    def entry_link(self, row: PaymentEntry) -> Any:
        text = f"{row.entry.public_id} ({row.entry.kind}, {dollars(row.entry.amount_micros)})"
        return link("ledger_entry_change", row.entry.pk, text)

    fields: ClassVar[Any] = ("entry_link",)


@admin.display(description="receipt")
def _receipt(row: Payment) -> Any:
    return format_html('<a href="{}" rel="noreferrer">at Stripe</a>', row.receipt_url) if row.receipt_url else "-"


@admin.register(Payment)
class PaymentAdmin(ReadOnlyAdmin):
    """Top-ups and automatic recharges."""

    list_display: Any = (
        "public_id",
        when("created_at", "created"),
        account_link("wallet.account"),
        wallet_mode,
        "kind",
        cents("amount_cents", "amount"),
        cents("tax_cents", "tax"),
        usd("bonus_micros", "bonus"),
        "state",
        "method",
        "error_code",
    )
    fields: ClassVar[Any] = (
        *list_display,
        "error",
        _receipt,
        "stripe_session_id",
        "stripe_payment_intent_id",
        "stripe_charge_id",
        "stripe_customer_id",
        "is_card_saved",
        "created_by",
        when("settled_at", "settled"),
        when("next_check_at", "next look"),
        "checks",
    )
    list_filter = (
        mode_filter("wallet__mode"),
        fixed_filter("state", Payment.State.choices, title="state"),
        fixed_filter("kind", Payment.Kind.choices, title="kind"),
        period_filter(),
        account_filter("wallet__account"),
    )
    list_select_related = ("wallet__account",)
    search_fields = (
        "wallet__account__name",
        "wallet__account__members__email",
        "stripe_payment_intent_id",
        "stripe_session_id",
        "stripe_charge_id",
    )
    search_help_text = "Account, e-mail of a member, or an id of Stripe's"
    ordering = ("-created_at",)
    inlines = (EntryInline, RefundInline, DisputeInline)
    actions = ("ask_again",)
    change_form_template = "admin/payments/payment/change_form.html"

    @admin.action(description="Ask Stripe again and follow", permissions=["ask"])
    def ask_again(self, request: HttpRequest, queryset: QuerySet[Payment]) -> None:
        for payment in queryset.select_related("wallet__account")[:50]:
            try:
                found = following.follow(payment, now=timezone.now(), is_whole=True)
            except _CANNOT as error:
                self.message_user(request, f"{payment.public_id}: {error}", messages.ERROR)
            else:
                self.message_user(request, f"{payment.public_id} is {found.state}.", messages.SUCCESS)

    def has_ask_permission(self, request: HttpRequest) -> bool:
        return _may_refund(request)

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.refund_view)
        return [path("<uuid:payment_id>/refund/", view, name="payments_payment_refund"), *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        row = Payment.objects.select_related("wallet").filter(pk=object_id).first() if _is_uuid(object_id) else None
        is_possible = row is not None and refunds.refundable(row).cents > 0
        context = {"is_refundable": is_possible and _may_refund(request)}
        return super().change_view(request, object_id, form_url, context | (extra_context or {}))

    def refund_view(self, request: HttpRequest, payment_id: uuid.UUID) -> HttpResponse:
        """The form page of a refund."""
        if not _may_refund(request):
            raise PermissionDenied
        payment = get_object_or_404(Payment.objects.select_related("wallet__account"), pk=payment_id)
        possible = refunds.refundable(payment)
        form = RefundForm(request.POST or None, initial={"amount_micros": possible.cents * MICROS_PER_CENT})
        if request.method == "POST" and form.is_valid() and self._refund(request, payment, form):
            return HttpResponseRedirect(reverse("admin:payments_payment_change", args=[payment.pk]))
        note = (
            f"{dollars(possible.cents * MICROS_PER_CENT)} of it are unspent. They leave the wallet at once; Stripe "
            "sends them back, with their share of the tax."
        )
        title = f"Refund {payment.public_id} of {payment.wallet.account.name}"
        return form_page(request, self, form, title=title, submit="Refund", row=payment, note=note)

    def _refund(self, request: HttpRequest, payment: Payment, form: RefundForm) -> bool:
        data = form.cleaned_data
        try:
            made = refunds.request(
                payment.pk,
                cents=data["amount_micros"] // MICROS_PER_CENT,
                actor=request.user.email,  # type: ignore[union-attr]
                reason=data["reason"],
                now=timezone.now(),
                once=uuid.uuid5(payment.pk, str(data["once"])),
            )
        except refunds.RefundNotPossible as refusal:
            form.add_error(None, str(refusal))
            return False
        told = f"Refund of {dollars(made.amount_cents * MICROS_PER_CENT)}: {made.state}."
        self.log_change(request, payment, f"{told} {data['reason']}")
        self.message_user(request, told, messages.SUCCESS if made.state != "failed" else messages.ERROR)
        return True


def _is_uuid(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True


def _may_refund(request: HttpRequest) -> bool:
    return request.user.has_perm("payments.add_refund")


@admin.register(Refund)
class RefundAdmin(ReadOnlyAdmin):
    """Money on its way back."""

    list_display: Any = (
        "public_id",
        when("created_at", "asked"),
        account_link("payment.wallet.account"),
        payment_link,
        cents("amount_cents", "amount"),
        usd("credit_micros", "credit"),
        "state",
        "is_ours",
        "actor",
    )
    fields: ClassVar[Any] = (
        *list_display,
        usd("revoked_micros", "bonus taken back"),
        "reason",
        "error",
        "stripe_refund_id",
        when("settled_at", "settled"),
        when("next_check_at", "next look"),
    )
    list_filter = (
        mode_filter("payment__wallet__mode"),
        fixed_filter("state", Refund.State.choices, title="state"),
        period_filter(),
        account_filter("payment__wallet__account"),
    )
    list_select_related = ("payment__wallet__account",)
    search_fields = ("payment__wallet__account__name", "stripe_refund_id", "actor", "reason")
    ordering = ("-created_at",)


@admin.register(Dispute)
class DisputeAdmin(ReadOnlyAdmin):
    """Payments that were called back. They are answered at Stripe."""

    list_display: Any = (
        "stripe_dispute_id",
        when("created_at", "opened"),
        account_link("payment.wallet.account"),
        payment_link,
        cents("amount_cents", "amount"),
        usd("withdrawn_micros", "withdrawn"),
        "status",
        "reason",
    )
    fields: ClassVar[Any] = (*list_display, when("updated_at", "last change"))
    list_filter = (mode_filter("payment__wallet__mode"), "status", account_filter("payment__wallet__account"))
    list_select_related = ("payment__wallet__account",)
    search_fields = ("payment__wallet__account__name", "stripe_dispute_id")
    ordering = ("-created_at",)


@admin.register(Customer)
class CustomerAdmin(ReadOnlyAdmin):
    """Accounts by their name at Stripe."""

    list_display: Any = ("stripe_customer_id", account_link(), "livemode", when("created_at", "created"))
    fields: ClassVar[Any] = list_display
    list_filter = ("livemode", account_filter())
    list_select_related = ("account",)
    search_fields = ("stripe_customer_id", "account__name")
    ordering = ("-id",)
