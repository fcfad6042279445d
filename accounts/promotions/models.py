"""Codes and who redeemed them; sign-up credit and whom it was given to."""

from __future__ import annotations

from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import F, Q

from accounts.ledger.models import Entry
from accounts.models import MODES, Account, User
from accounts.payments.models import Payment


class RedemptionCode(models.Model):
    """A code that turns into credit, once for each account and so many times in all."""

    code = models.CharField(max_length=40, unique=True, help_text="Letters and digits; case and dashes do not matter.")
    mode = models.CharField(max_length=4, choices=MODES, default="live")
    amount_micros = models.BigIntegerField()
    max_uses = models.PositiveIntegerField(
        null=True, blank=True, validators=[MinValueValidator(1)], help_text="In all; empty = as often as you like."
    )
    use_count = models.PositiveIntegerField(default=0, editable=False)
    valid_until = models.DateTimeField(null=True, blank=True)
    credit_days = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="Days until the credit expires; empty = never.",
    )
    is_active = models.BooleanField(default=True)
    note = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.ForeignKey(User, null=True, editable=False, on_delete=models.SET_NULL, related_name="+")

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(amount_micros__gt=0), name="code_amount"),
            models.CheckConstraint(
                condition=Q(max_uses__isnull=True) | Q(use_count__lte=F("max_uses")), name="code_uses"
            ),
        ]

    def __str__(self) -> str:
        return self.code


class Redemption(models.Model):
    """One account's use of a code."""

    code = models.ForeignKey(RedemptionCode, on_delete=models.PROTECT, related_name="redemptions")
    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="redemptions")
    entry = models.OneToOneField(Entry, on_delete=models.PROTECT, related_name="redemption")
    created_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["code", "account"], name="redeemed_once")]

    def __str__(self) -> str:
        return f"{self.code} by {self.account}"


class SignupCredit(models.Model):
    """The credit of a new account, or why it got none. One for each account, mailbox and card."""

    class State(models.TextChoices):
        WAITING = "waiting", "waiting for a card"
        GRANTED = "granted"
        REFUSED = "refused"
        REVOKED = "revoked", "taken back"

    account = models.OneToOneField(Account, on_delete=models.PROTECT, related_name="signup_credit")
    state = models.CharField(max_length=7, choices=State)
    mailbox = models.CharField(max_length=254, help_text="The address without tags and, at Google, dots.")
    domain = models.CharField(max_length=254)
    network = models.CharField(max_length=50, blank=True, help_text="The /24 or /64 it came from.")
    card_fingerprint = models.CharField(max_length=64, unique=True, null=True)
    amount_micros = models.BigIntegerField()
    reason = models.CharField(max_length=200, blank=True)
    is_capped = models.BooleanField(default=False, help_text="One image at a time until the first top-up.")
    payment = models.ForeignKey(
        Payment, null=True, on_delete=models.PROTECT, related_name="+", help_text="The top-up that showed the card."
    )
    entry = models.OneToOneField(Entry, null=True, on_delete=models.PROTECT, related_name="signup_credit")
    created_at = models.DateTimeField()
    granted_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            models.Index(fields=["network", "created_at"], name="signup_network"),
            models.Index(fields=["domain", "created_at"], name="signup_domain"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["mailbox"], condition=~Q(state="refused"), name="signup_credit_mailbox_once"
            ),
            models.CheckConstraint(
                condition=Q(state__in=("granted", "revoked"), entry__isnull=False)
                | (Q(state__in=("waiting", "refused")) & Q(entry=None)),
                name="signup_credit_entry",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.state} sign-up credit of {self.account}"
