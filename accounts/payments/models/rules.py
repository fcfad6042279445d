"""What operators and account owners set: bonus steps and auto-recharge."""

from __future__ import annotations

from decimal import Decimal

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q

from accounts.ledger.models import Wallet


class BonusStep(models.Model):
    """From this amount on a top-up brings so much more. The highest step that fits holds."""

    minimum_cents = models.BigIntegerField(unique=True)
    percent = models.DecimalField(
        max_digits=5,
        decimal_places=2,
        validators=[MinValueValidator(Decimal("0.01")), MaxValueValidator(Decimal(100))],
    )
    credit_days = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="Days until the bonus expires; empty = never.",
    )
    is_active = models.BooleanField(default=True)

    class Meta:
        ordering = ("minimum_cents",)
        constraints = [
            models.CheckConstraint(condition=Q(minimum_cents__gt=0), name="bonus_step_minimum"),
            models.CheckConstraint(condition=Q(percent__gt=0, percent__lte=100), name="bonus_step_percent"),
        ]

    def __str__(self) -> str:
        return f"{self.percent} % from ${self.minimum_cents / 100:,.2f}"


class AutoRecharge(models.Model):
    """Buy credit with the saved card when a wallet runs low, within a monthly ceiling."""

    wallet = models.OneToOneField(Wallet, on_delete=models.PROTECT, related_name="auto_recharge")
    is_enabled = models.BooleanField(default=False)
    threshold_micros = models.BigIntegerField()
    amount_cents = models.BigIntegerField()
    monthly_ceiling_cents = models.BigIntegerField()
    payment_method_id = models.CharField(max_length=255, blank=True, default="")
    method = models.CharField(max_length=60, blank=True, default="")
    declines = models.PositiveIntegerField(default=0, help_text="In a row.")
    stopped_because = models.CharField(max_length=200, blank=True, default="")
    next_try_at = models.DateTimeField(null=True)
    updated_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(threshold_micros__gte=0, amount_cents__gt=0, monthly_ceiling_cents__gt=0),
                name="auto_recharge_amounts",
            )
        ]

    def __str__(self) -> str:
        return f"auto-recharge of {self.wallet}"
