"""Generations (accepted requests) and their outputs (requested images), and the keys that make a create happen once."""

from __future__ import annotations

from django.db import models
from django.db.models import Q, Value

from accounts.identifiers import new_uuid, public_id
from accounts.models import MODES
from generation.models.catalogue import ImageModel, Price

# How long it may take. What may wait runs last, in falling order of the alphabet. What a lane costs says its price:
# where no road takes batches, they are made one by one and sold as standard.
LANES = [("standard", "standard"), ("flex", "flex"), ("batch", "batch")]


class State(models.TextChoices):
    """The states of an output. `leased`, `sent` and `received` are shown as running."""

    QUEUED = "queued"
    LEASED = "leased"
    SENT = "sent"
    RECEIVED = "received"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def public(self) -> str:
        return "running" if self in (State.LEASED, State.SENT, State.RECEIVED) else str(self.value)


LIVE_STATES = (State.QUEUED, State.LEASED, State.SENT, State.RECEIVED)
TERMINAL_STATES = (State.SUCCEEDED, State.FAILED, State.CANCELED)
# An output in a job waits upstream for hours: it is sent, and no lease of a worker's holds it.
IN_JOB = Q(state=State.SENT, lease_until=None)


class Generation(models.Model):
    """One accepted request. Its status and counts follow its outputs, in the transactions that settle them."""

    class Status(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        SUCCEEDED = "succeeded"
        FAILED = "failed"
        CANCELED = "canceled"

    id = models.UUIDField(primary_key=True, default=new_uuid, editable=False)
    account = models.ForeignKey("accounts.Account", on_delete=models.PROTECT, related_name="generations")
    api_key = models.ForeignKey("accounts.ApiKey", null=True, on_delete=models.PROTECT, related_name="generations")
    user = models.ForeignKey("accounts.User", null=True, on_delete=models.SET_NULL, related_name="generations")
    mode = models.CharField(max_length=4, choices=MODES)
    lane = models.CharField(max_length=8, choices=LANES, default="standard")
    image_model = models.ForeignKey(ImageModel, on_delete=models.PROTECT, related_name="generations")
    price = models.ForeignKey(Price, on_delete=models.PROTECT, related_name="generations")
    model_requested = models.CharField(max_length=120)
    prompt = models.TextField()
    aspect_ratio = models.CharField(max_length=5)
    image_size = models.CharField(max_length=2)
    n = models.PositiveIntegerField()
    previous_output = models.ForeignKey("Output", null=True, on_delete=models.PROTECT, related_name="edits")
    history_depth = models.PositiveIntegerField(default=0, help_text="Earlier turns sent along.")
    input_image_count = models.PositiveIntegerField(default=0, help_text="References and images of earlier turns.")
    is_grounded = models.BooleanField(default=False)
    thinking_level = models.CharField(max_length=10, blank=True, default="")
    seed = models.BigIntegerField(null=True)
    metadata = models.JSONField(default=dict)
    tags = models.JSONField(default=list)
    warnings = models.JSONField(default=list)
    request_sha256 = models.CharField(max_length=64)
    content_sha256 = models.CharField(
        max_length=64, blank=True, default="", db_default="", editable=False, help_text="What may be the same image."
    )
    routing = models.JSONField(
        default=dict, db_default=Value({}, models.JSONField()), help_text="What the request says of its roads."
    )
    deadline_at = models.DateTimeField(null=True, help_text="Until when a batch lane may take.")
    is_joinable = models.BooleanField(
        default=False, db_default=False, help_text="Whether the same request, sent again, may join it."
    )
    conversation_sha256 = models.CharField(max_length=64, blank=True, default="", db_default="", editable=False)
    connected_until = models.DateTimeField(null=True, editable=False)
    delivered_at = models.DateTimeField(null=True, editable=False)

    status = models.CharField(max_length=10, choices=Status, default=Status.QUEUED)
    quote_micros = models.BigIntegerField()
    price_micros = models.BigIntegerField(default=0)
    open_count = models.PositiveIntegerField()
    succeeded_count = models.PositiveIntegerField(default=0)
    failed_count = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)
    purged_at = models.DateTimeField(null=True, editable=False, help_text="Since when its texts are forgotten.")

    class Meta:
        indexes = [
            models.Index(fields=["account", "mode", "-id"], name="generation_list"),
            models.Index(fields=["api_key", "-created_at"], name="generation_key"),
            models.Index(fields=["created_at"], condition=Q(purged_at=None), name="generation_kept"),
            models.Index(
                fields=["account", "request_sha256"], condition=Q(is_joinable=True), name="generation_joinable"
            ),
            models.Index(
                fields=["account", "mode", "content_sha256"],
                condition=~Q(content_sha256=""),
                name="generation_content",
            ),
            models.Index(
                fields=["account", "conversation_sha256"],
                condition=~Q(conversation_sha256=""),
                name="generation_conversation",
            ),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(price_micros__gte=0, quote_micros__gte=models.F("price_micros")),
                name="generation_price_within_quote",
            ),
        ]

    @property
    def public_id(self) -> str:
        return public_id("gen", self.id)

    def __str__(self) -> str:
        return self.public_id


class Output(models.Model):
    """One requested image: its state, its lease, its quote. It ends once; a trigger freezes a finished row's state."""

    id = models.UUIDField(primary_key=True, default=new_uuid, editable=False)
    generation = models.ForeignKey(Generation, on_delete=models.PROTECT, related_name="outputs")
    account = models.ForeignKey("accounts.Account", on_delete=models.PROTECT, related_name="+")
    api_key = models.ForeignKey("accounts.ApiKey", null=True, on_delete=models.PROTECT, related_name="+")
    mode = models.CharField(max_length=4, choices=MODES)
    lane = models.CharField(max_length=8, choices=LANES, default="standard")
    index = models.PositiveIntegerField()

    state = models.CharField(max_length=9, choices=State, default=State.QUEUED)
    next_run_at = models.DateTimeField()
    nudged_at = models.DateTimeField(null=True)
    stranded_count = models.PositiveIntegerField(default=0, help_text="Leases that ended with nothing sent.")
    lease_number = models.PositiveIntegerField(default=0)
    lease_owner = models.CharField(max_length=36, blank=True, default="")
    lease_until = models.DateTimeField(null=True)
    is_cancel_requested = models.BooleanField(default=False)

    image_model = models.ForeignKey(
        ImageModel,
        null=True,
        on_delete=models.PROTECT,
        related_name="+",
        help_text="What made it, if not the one asked.",
    )
    source = models.ForeignKey(
        "self", null=True, on_delete=models.PROTECT, related_name="copies", help_text="Whose image it may show."
    )
    quote_micros = models.BigIntegerField()
    price_micros = models.BigIntegerField(null=True)
    error_code = models.CharField(max_length=40, blank=True, default="")
    error_message = models.CharField(max_length=500, blank=True, default="")
    text = models.TextField(blank=True, default="")
    sources = models.JSONField(default=list)
    search_suggestions = models.TextField(blank=True, default="")
    usage = models.JSONField(null=True)
    parts = models.JSONField(default=list)
    parts_channel_id = models.UUIDField(null=True)
    parts_upstream_model = models.CharField(max_length=120, blank=True, default="")
    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            models.Index(fields=["next_run_at"], condition=Q(state="queued"), name="output_due"),
            models.Index(
                fields=["account", "lane"],
                condition=Q(state__in=["queued", "leased", "sent", "received"]),
                name="output_live_account",
            ),
            models.Index(
                fields=["lease_until"], condition=Q(state__in=["leased", "sent", "received"]), name="output_leased"
            ),
        ]
        constraints = [
            models.UniqueConstraint(fields=["generation", "index"], name="output_once"),
            models.CheckConstraint(condition=Q(state__in=[state.value for state in State]), name="output_state"),
            models.CheckConstraint(
                name="output_price",
                condition=(
                    Q(state="succeeded", price_micros__gte=0, price_micros__lte=models.F("quote_micros"))
                    | (~Q(state="succeeded") & Q(price_micros=None))
                ),
            ),
        ]

    @property
    def public_id(self) -> str:
        return public_id("out", self.id)

    def __str__(self) -> str:
        return self.public_id


class IdempotencyKey(models.Model):
    """A caller's name for one create: the same request under it answers the same generation."""

    account = models.ForeignKey("accounts.Account", on_delete=models.CASCADE, related_name="+")
    mode = models.CharField(max_length=4, choices=MODES)
    key = models.CharField(max_length=255)
    request_sha256 = models.CharField(max_length=64)
    generation = models.ForeignKey(Generation, on_delete=models.CASCADE, related_name="+")
    created_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["account", "mode", "key"], name="idempotency_key_once")]
        indexes = [models.Index(fields=["created_at"], name="idempotency_key_age")]

    def __str__(self) -> str:
        return self.key
