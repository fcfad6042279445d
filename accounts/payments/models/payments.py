"""Payments and what comes back out of them. Cents are Stripe's unit, micro-dollars the ledger's: 1 cent = 10,000."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models import F, Q

from accounts.identifiers import new_uuid, public_id
from accounts.ledger.models import Entry, Lot, Wallet
from accounts.models import Account, User

MICROS_PER_CENT = 10_000


class Customer(models.Model):
    """An account's name at Stripe, one in live and one in test mode."""

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="customers")
    livemode = models.BooleanField()
    stripe_customer_id = models.CharField(max_length=255, unique=True)
    created_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["account", "livemode"], name="customer_once")]

    def __str__(self) -> str:
        return self.stripe_customer_id


class Payment(models.Model):
    """One purchase of credit. Credited once, when Stripe says it is paid and everything else agrees."""

    class Kind(models.TextChoices):
        CHECKOUT = "checkout"
        AUTO = "auto", "auto-recharge"

    class State(models.TextChoices):
        CREATED = "created"
        OPEN = "open"
        PROCESSING = "processing"
        SUCCEEDED = "succeeded"
        FAILED = "failed"
        EXPIRED = "expired"
        BLOCKED = "blocked"

    id = models.UUIDField(primary_key=True, default=new_uuid, editable=False)
    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="payments")
    kind = models.CharField(max_length=8, choices=Kind)
    state = models.CharField(max_length=10, choices=State, default=State.CREATED)
    livemode = models.BooleanField()
    currency = models.CharField(max_length=3, default="usd")
    amount_cents = models.BigIntegerField()
    tax_cents = models.BigIntegerField(default=0)
    credit_micros = models.BigIntegerField()
    bonus_micros = models.BigIntegerField(default=0)
    bonus_days = models.PositiveIntegerField(null=True)
    is_card_saved = models.BooleanField(default=False)
    is_tax_automatic = models.BooleanField(default=False)
    origin = models.CharField(max_length=200, help_text="The site's address, for the way back from Stripe.")
    stripe_customer_id = models.CharField(max_length=255)
    stripe_session_id = models.CharField(max_length=255, unique=True, null=True)
    stripe_payment_intent_id = models.CharField(max_length=255, unique=True, null=True)
    stripe_charge_id = models.CharField(max_length=255, unique=True, null=True)
    payment_method_id = models.CharField(max_length=255, blank=True, default="")
    method = models.CharField(max_length=60, blank=True, default="")
    card_fingerprint = models.CharField(max_length=64, blank=True, default="")
    checkout_url = models.TextField(blank=True, default="")
    receipt_url = models.TextField(blank=True, default="")
    invoice_url = models.TextField(blank=True, default="")
    error_code = models.CharField(max_length=100, blank=True, default="")
    error = models.CharField(max_length=500, blank=True, default="")
    created_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    settled_at = models.DateTimeField(null=True)
    next_check_at = models.DateTimeField(null=True)
    checks = models.PositiveIntegerField(default=0)
    follows = models.PositiveIntegerField(default=0, editable=False, help_text="How often facts were written down.")

    class Meta:
        indexes = [
            models.Index(fields=["wallet", "-created_at"], name="payment_wallet_time"),
            models.Index(fields=["next_check_at"], condition=Q(next_check_at__isnull=False), name="payment_due"),
            models.Index(fields=["card_fingerprint"], condition=~Q(card_fingerprint=""), name="payment_card"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["wallet"],
                condition=Q(kind="auto", state__in=("created", "open", "processing")),
                name="payment_one_auto_in_flight",
            ),
            models.CheckConstraint(condition=Q(amount_cents__gt=0, tax_cents__gte=0), name="payment_amount"),
            models.CheckConstraint(
                condition=Q(credit_micros=F("amount_cents") * MICROS_PER_CENT, bonus_micros__gte=0),
                name="payment_credit",
            ),
            models.CheckConstraint(condition=Q(currency="usd"), name="payment_currency"),
        ]

    @property
    def public_id(self) -> str:
        return public_id("pay", self.id)

    @property
    def total_cents(self) -> int:
        """What the customer paid, tax included."""
        return self.amount_cents + self.tax_cents

    def __str__(self) -> str:
        return f"{self.kind} {self.public_id}"


UNFINISHED = (Payment.State.CREATED, Payment.State.OPEN, Payment.State.PROCESSING)


class Refund(models.Model):
    """Money on its way back to the customer. Taken from the wallet before Stripe is asked; a failure brings it back."""

    class State(models.TextChoices):
        REQUESTED = "requested"
        PENDING = "pending"
        SUCCEEDED = "succeeded"
        FAILED = "failed"

    id = models.UUIDField(primary_key=True, default=new_uuid, editable=False)
    payment = models.ForeignKey(Payment, on_delete=models.PROTECT, related_name="refunds")
    state = models.CharField(max_length=9, choices=State, default=State.REQUESTED)
    stripe_refund_id = models.CharField(max_length=255, unique=True, null=True)
    amount_cents = models.BigIntegerField(help_text="What the customer gets, tax included.")
    credit_micros = models.BigIntegerField(help_text="What the wallet loses.")
    revoked_micros = models.BigIntegerField(default=0, help_text="Bonus credit taken back with it.")
    is_ours = models.BooleanField(help_text="No = made in Stripe's dashboard.")
    actor = models.CharField(max_length=254, blank=True, default="")
    reason = models.CharField(max_length=500, blank=True, default="")
    error = models.CharField(max_length=500, blank=True, default="")
    created_at = models.DateTimeField()
    settled_at = models.DateTimeField(null=True)
    next_check_at = models.DateTimeField(null=True)
    checks = models.PositiveIntegerField(default=0)

    class Meta:
        indexes = [models.Index(fields=["next_check_at"], condition=Q(next_check_at__isnull=False), name="refund_due")]
        constraints = [
            models.CheckConstraint(
                condition=Q(amount_cents__gt=0, credit_micros__gte=0, revoked_micros__gte=0), name="refund_amount"
            )
        ]

    @property
    def public_id(self) -> str:
        return public_id("ref", self.id)

    def __str__(self) -> str:
        return f"{self.state} refund {self.public_id}"


class Dispute(models.Model):
    """A payment its customer called back. `withdrawn_micros` is what of its credit is out now."""

    stripe_dispute_id = models.CharField(max_length=255, unique=True)
    payment = models.ForeignKey(Payment, on_delete=models.PROTECT, related_name="disputes")
    status = models.CharField(max_length=30)
    reason = models.CharField(max_length=100, blank=True, default="")
    amount_cents = models.BigIntegerField()
    withdrawn_micros = models.BigIntegerField(default=0)
    movements = models.PositiveIntegerField(default=0)
    is_freezing = models.BooleanField(default=False, help_text="It froze the wallet.")
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(withdrawn_micros__gte=0), name="dispute_withdrawn")]

    def __str__(self) -> str:
        return f"{self.status} dispute {self.stripe_dispute_id}"


class PaymentEntry(models.Model):
    """Which payment an entry stems from. Never changed."""

    entry = models.OneToOneField(Entry, on_delete=models.PROTECT, related_name="payment_entry")
    payment = models.ForeignKey(Payment, on_delete=models.PROTECT, related_name="payment_entries")
    refund = models.ForeignKey(Refund, null=True, on_delete=models.PROTECT, related_name="payment_entries")
    dispute = models.ForeignKey(Dispute, null=True, on_delete=models.PROTECT, related_name="payment_entries")

    class Meta:
        verbose_name_plural = "payment entries"

    def __str__(self) -> str:
        return f"{self.entry_id} of {self.payment_id}"


def lots_of(payment_id: uuid.UUID, kind: str) -> list[Lot]:
    """What a payment brought, and what came back of it: of kind `paid` what was bought, `promotional` its bonus."""
    rows = Lot.objects.filter(entry__payment_entry__payment_id=payment_id, kind=kind)
    # Credit from elsewhere that a dispute took and gave back is promotional, and no bonus of this payment.
    rows = rows.filter(entry__kind="grant") if kind == Lot.Kind.PROMOTIONAL else rows
    return list(rows.order_by("pk"))


class Overtaken(Exception):
    """Somebody else wrote facts down since these were asked for: they may be older. Ask again."""


def locked_payment(payment: Payment) -> Payment:
    """The payment's row as it is now, locked. Raises Overtaken if facts were written down since it was read."""
    row = Payment.objects.select_for_update(no_key=True).get(pk=payment.pk)
    if row.follows != payment.follows:
        raise Overtaken
    row.follows += 1
    return row
