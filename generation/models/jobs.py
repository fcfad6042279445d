"""Jobs: many images that go upstream together and come back within a day."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from accounts.identifiers import new_uuid, public_id
from generation.models.catalogue import ImageModel


class Job(models.Model):
    """One job of a batch channel. Its items are attempts; what becomes of each is settled by itself.

    `creating` is written before the request that creates it leaves: whoever finds such a job looks for it upstream by
    its display name, which is its public id, before it is created anew.
    """

    class State(models.TextChoices):
        OPEN = "open"
        CLOSED = "closed"
        CREATING = "creating"
        RUNNING = "running"
        ENDED = "ended"

    id = models.UUIDField(primary_key=True, default=new_uuid, editable=False)
    channel = models.ForeignKey("channels.Channel", on_delete=models.PROTECT, related_name="jobs")
    image_model = models.ForeignKey(ImageModel, on_delete=models.PROTECT, related_name="+")
    state = models.CharField(max_length=8, choices=State, default=State.OPEN)
    upstream_name = models.CharField(max_length=200, blank=True, default="")
    outcome = models.CharField(max_length=10, blank=True, default="")
    message = models.CharField(max_length=500, blank=True, default="")
    item_count = models.PositiveIntegerField(default=0)
    token_estimate = models.PositiveBigIntegerField(default=0)
    create_count = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField()
    sent_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    deadline_at = models.DateTimeField(null=True)
    look_at = models.DateTimeField()
    lease_until = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            models.Index(fields=["look_at"], condition=~Q(state="ended"), name="job_due"),
            models.Index(fields=["channel", "state"], condition=~Q(state="ended"), name="job_of_channel"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(state__in=("open", "closed", "creating", "running", "ended")), name="job_state"
            ),
            models.CheckConstraint(condition=~Q(state="running") | ~Q(upstream_name=""), name="job_running_has_name"),
        ]

    @property
    def public_id(self) -> str:
        return public_id("job", self.id)

    def __str__(self) -> str:
        return self.public_id
