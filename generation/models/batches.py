"""Many requests handed in together, to be made when there is room: a batch and its items."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from accounts.identifiers import new_uuid, public_id
from accounts.models import MODES
from generation.models.requests import Generation


class Batch(models.Model):
    """Requests under one name. Each becomes a generation of its own, which says whether it is done."""

    class Status(models.TextChoices):
        VALIDATING = "validating"
        IN_PROGRESS = "in_progress"
        CANCELING = "canceling"
        EXPIRING = "expiring"
        COMPLETED = "completed"
        CANCELED = "canceled"
        EXPIRED = "expired"
        FAILED = "failed"

    id = models.UUIDField(primary_key=True, default=new_uuid, editable=False)
    account = models.ForeignKey("accounts.Account", on_delete=models.PROTECT, related_name="+")
    api_key = models.ForeignKey("accounts.ApiKey", on_delete=models.PROTECT, related_name="+")
    mode = models.CharField(max_length=4, choices=MODES)
    door = models.CharField(max_length=20, help_text="In whose words it was handed in.")
    kind = models.CharField(max_length=120, help_text="What its requests are for, in the door's words.")
    title = models.CharField(max_length=255, blank=True, default="")
    input_file = models.CharField(max_length=40, blank=True, default="")
    metadata = models.JSONField(default=dict)
    request_sha256 = models.CharField(max_length=64)
    idempotency_key = models.CharField(max_length=255, blank=True, default="")
    status = models.CharField(max_length=12, choices=Status, default=Status.VALIDATING)
    item_count = models.PositiveIntegerField(default=0)
    faults = models.JSONField(default=list, help_text="Why it failed as a whole.")
    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True)
    cancel_requested_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField(help_text="When what has not begun is given up.")
    delivered_at = models.DateTimeField(null=True, editable=False)
    left_at = models.DateTimeField(null=True, editable=False, help_text="Since when its client is gone, unanswered.")
    try_at = models.DateTimeField(null=True, editable=False, help_text="Until when nothing of it is accepted.")
    is_hidden = models.BooleanField(default=False, help_text="Whether its owner has removed it from the list.")

    class Meta:
        verbose_name_plural = "batches"
        indexes = [
            models.Index(fields=["account", "mode", "-id"], name="batch_list"),
            models.Index(fields=["id"], condition=Q(ended_at=None), name="batch_open"),
            models.Index(fields=["ended_at"], name="batch_age"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["account", "mode", "idempotency_key"],
                condition=~Q(idempotency_key=""),
                name="batch_idempotency_key_once",
            )
        ]

    @property
    def public_id(self) -> str:
        return public_id("batch", self.id)

    def __str__(self) -> str:
        return self.public_id


class BatchItem(models.Model):
    """One request of a batch: where it stands in the batch's stored requests, and what became of it."""

    class State(models.TextChoices):
        PENDING = "pending"
        ACCEPTED = "accepted"
        REFUSED = "refused"
        LEFT = "left"

    batch = models.ForeignKey(Batch, on_delete=models.CASCADE, related_name="items")
    index = models.PositiveIntegerField()
    name = models.CharField(max_length=512, blank=True, default="", help_text="What its owner calls it.")
    n = models.PositiveIntegerField(default=1, help_text="Images that it asks for.")
    options = models.JSONField(default=dict, help_text="How its answer is to be written.")
    offset = models.BigIntegerField(default=0)
    byte_count = models.PositiveIntegerField(default=0)
    state = models.CharField(max_length=8, choices=State, default=State.PENDING)
    try_at = models.DateTimeField(null=True, editable=False)
    generation = models.ForeignKey(Generation, null=True, on_delete=models.PROTECT, related_name="+")
    error = models.JSONField(null=True, help_text="Why it was refused.")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["batch", "index"], name="batch_item_once")]
        indexes = [models.Index(fields=["batch", "index"], condition=Q(state="pending"), name="batch_item_pending")]

    def __str__(self) -> str:
        return f"{self.batch_id} {self.index}"
