"""Credit for new accounts, as a setting: after a verified address, once for each mailbox and card."""

from __future__ import annotations

import ipaddress
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from allauth.account.models import EmailAddress
from allauth.account.signals import email_confirmed
from django.conf import settings
from django.db import IntegrityError
from django.db.models import Exists, OuterRef, Sum
from django.http import HttpRequest

from accounts.ledger import adjustments
from accounts.models import Account, Membership
from accounts.payments.models import Payment, Refund
from accounts.promotions.models import SignupCredit
from accounts.request_address import address_of
from accounts.transactions import write_transaction

logger = logging.getLogger(__name__)
State = SignupCredit.State
_DAY = timedelta(days=1)
_AT_ONCE = 50
_DOTLESS = ("gmail.com", "googlemail.com")


def connect() -> None:
    """Listen for verified addresses."""
    email_confirmed.connect(_on_confirmed, dispatch_uid="promotions.signup_credit")


def _on_confirmed(request: HttpRequest | None, email_address: EmailAddress, **_: Any) -> None:
    owner = Membership.objects.filter(user=email_address.user, role=Membership.Role.OWNER).order_by("id").first()
    if settings.NBP_SIGNUP_CREDIT_MICROS and owner is not None and email_address.primary:
        address = address_of(request) if request is not None else ""
        consider(owner.account, email=email_address.email, address=address, now=datetime.now(UTC))


def mailbox(email: str) -> tuple[str, str]:
    """The mailbox an address leads to, and its domain: tags are dropped, and dots where they mean nothing."""
    name, _, domain = email.strip().lower().rpartition("@")
    name = name.partition("+")[0]
    if domain in _DOTLESS:
        name, domain = name.replace(".", ""), _DOTLESS[0]
    return f"{name}@{domain}", domain


def network(address: str) -> str:
    """The /24 of an IPv4 address, the /64 of an IPv6 one; empty for anything else."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return ""
    mapped = getattr(found, "ipv4_mapped", None)
    found = mapped or found
    return str(ipaddress.ip_network(f"{found}/{24 if found.version == 4 else 64}", strict=False))


def consider(account: Account, *, email: str, address: str, now: datetime) -> SignupCredit:
    """Decide about a new account's credit, once."""
    known = SignupCredit.objects.filter(account=account).first()
    if known is not None:
        return known
    box, domain = mailbox(email)
    row = SignupCredit(
        account=account,
        state=State.WAITING,
        mailbox=box,
        domain=domain,
        network=network(address),
        amount_micros=settings.NBP_SIGNUP_CREDIT_MICROS,
        created_at=now,
    )
    row.reason = _objection(row, now=now)
    if row.reason:
        row.state = State.REFUSED
    try:
        with write_transaction():
            row.save()
            if row.state == State.WAITING and not settings.NBP_SIGNUP_CREDIT_NEEDS_CARD:
                _grant(row, None, now=now)
    except IntegrityError:
        # Two confirmations at the same time, or the same mailbox at the same time.
        return SignupCredit.objects.filter(account=account).first() or row
    return row


def _objection(row: SignupCredit, *, now: datetime) -> str:
    """Why an account gets nothing, or an empty text."""
    recent = SignupCredit.objects.filter(created_at__gt=now - _DAY).exclude(state=State.REFUSED)
    if SignupCredit.objects.filter(mailbox=row.mailbox).exclude(state=State.REFUSED).exists():
        return "The mailbox had this credit before."
    if row.network and recent.filter(network=row.network).count() >= settings.NBP_SIGNUP_CREDITS_PER_NETWORK:
        return "Too many new accounts from one network today."
    if recent.filter(domain=row.domain).count() >= settings.NBP_SIGNUP_CREDITS_PER_DOMAIN:
        return "Too many new accounts of one mail domain today."
    return ""


def _grant(row: SignupCredit, payment: Payment | None, *, now: datetime) -> None:
    """Give the credit: by a card, into the wallet that the card paid into."""
    days = settings.NBP_SIGNUP_CREDIT_DAYS
    row.entry = adjustments.give(
        account=row.account,
        mode=payment.wallet.mode if payment else "live",
        amount_micros=row.amount_micros,
        reason="Welcome credit",
        now=now,
        key=f"signup:{row.account_id}",
        expires_at=now + timedelta(days=days) if days else None,
    )
    row.state, row.payment, row.granted_at = State.GRANTED, payment, now
    row.card_fingerprint = payment.card_fingerprint if payment else None
    if payment is None and row.account.running_cap is None:
        # Who never paid makes one image at a time.
        row.is_capped = True
        Account.objects.filter(pk=row.account_id).update(running_cap=1)
    row.save()


def advance(*, now: datetime) -> None:
    """Grant what waited for a card, take back what a refunded top-up brought, lift the cap of those who paid."""
    paid = Payment.objects.filter(state=Payment.State.SUCCEEDED, wallet__account=OuterRef("account"))
    with_card = paid.exclude(card_fingerprint="")
    rows = SignupCredit.objects.select_related("account").order_by("pk")
    for row in rows.filter(Exists(with_card), state=State.WAITING)[:_AT_ONCE]:
        _grant_by_card(row, now=now)
    for row in rows.filter(Exists(paid.filter(wallet__mode="live")), is_capped=True)[:_AT_ONCE]:
        _lift_cap(row)
    refunded = Refund.objects.filter(payment=OuterRef("payment"), state=Refund.State.SUCCEEDED)
    for row in rows.filter(Exists(refunded), state=State.GRANTED).select_related("payment", "entry__wallet"):
        _take_back(row, now=now)


def _grant_by_card(row: SignupCredit, *, now: datetime) -> None:
    own = Payment.objects.filter(wallet__account=row.account, state=Payment.State.SUCCEEDED).exclude(
        card_fingerprint=""
    )
    payment = own.select_related("wallet").order_by("created_at").first()
    if payment is None:
        return
    others = Payment.objects.filter(card_fingerprint=payment.card_fingerprint).exclude(wallet__account=row.account)
    try:
        with write_transaction():
            if others.exists():
                raise IntegrityError("another account paid with this card")
            _grant(row, payment, now=now)
    except IntegrityError:
        reason = "The card belongs to another account, too."
        SignupCredit.objects.filter(pk=row.pk, state=State.WAITING).update(state=State.REFUSED, reason=reason)
        logger.warning("no sign-up credit for %s: its card is known", row.account.public_id)


def _take_back(row: SignupCredit, *, now: datetime) -> None:
    """What is left of the credit goes with the top-up that brought it, once all of that went back."""
    payment = row.payment
    if payment is None or row.entry is None:
        return
    back = payment.refunds.exclude(state=Refund.State.FAILED).aggregate(total=Sum("credit_micros"))["total"] or 0
    if back < payment.credit_micros:
        return
    with write_transaction():
        if SignupCredit.objects.filter(pk=row.pk, state=State.GRANTED).update(
            state=State.REVOKED, reason="The top-up that brought it went back."
        ):
            adjustments.take_back(entry=row.entry, reason="Welcome credit of a refunded top-up", now=now)


def _lift_cap(row: SignupCredit) -> None:
    with write_transaction():
        if SignupCredit.objects.filter(pk=row.pk, is_capped=True).update(is_capped=False):
            Account.objects.filter(pk=row.account_id, running_cap=1).update(running_cap=None)
