"""What Stripe told us, and where Stripe and the ledger disagree."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from accounts.payments.models.payments import Payment


class StripeEvent(models.Model):
    """One event, kept once as it came. It is a reason to ask Stripe again, never a fact about money."""

    stripe_event_id = models.CharField(max_length=255, unique=True)
    type = models.CharField(max_length=100)
    api_version = models.CharField(max_length=40, blank=True, default="")
    livemode = models.BooleanField()
    object_id = models.CharField(max_length=255, blank=True, default="")
    intent_id = models.CharField(max_length=255, blank=True, default="")
    created = models.DateTimeField(help_text="When it happened, says Stripe.")
    payload = models.TextField()
    is_backfilled = models.BooleanField(default=False, help_text="Found in Stripe's list; no webhook had brought it.")
    received_at = models.DateTimeField()
    processed_at = models.DateTimeField(null=True)
    next_try_at = models.DateTimeField(null=True)
    tries = models.PositiveIntegerField(default=0)
    error = models.CharField(max_length=500, blank=True, default="")

    class Meta:
        indexes = [
            models.Index(fields=["next_try_at"], condition=Q(next_try_at__isnull=False), name="stripe_event_due"),
            models.Index(fields=["-received_at"], name="stripe_event_received"),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.stripe_event_id}"


class ReconciliationRun(models.Model):
    """One night's comparison with Stripe. The day is taken once, so that one worker does it."""

    day = models.DateField(unique=True)
    is_urgent = models.BooleanField(default=False, help_text="Asked for by a restore: no card is charged before it.")
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)
    payments_checked = models.PositiveIntegerField(default=0)
    events_fetched = models.PositiveIntegerField(default=0)
    credited_now = models.PositiveIntegerField(default=0)
    drift_count = models.PositiveIntegerField(default=0)
    error = models.CharField(max_length=500, blank=True, default="")

    def __str__(self) -> str:
        return f"reconciliation of {self.day}"


class Drift(models.Model):
    """A sentence about Stripe and the ledger that should not be true. Closed when a later run finds it mended."""

    subject = models.CharField(max_length=255, help_text="The object at Stripe, or ours.")
    invariant = models.CharField(max_length=10)
    detail = models.CharField(max_length=500)
    payment = models.ForeignKey(Payment, null=True, on_delete=models.PROTECT, related_name="drifts")
    found_at = models.DateTimeField()
    seen_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name_plural = "drift"
        constraints = [
            models.UniqueConstraint(
                fields=["subject", "invariant"], condition=Q(closed_at=None), name="drift_open_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.invariant}: {self.detail}"
