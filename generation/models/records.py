"""What an output leaves behind: references sent in, attempts made, the stored image, and the charge."""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q

from generation.models.catalogue import Price
from generation.models.requests import Generation, Output


class Reference(models.Model):
    """An image sent in with a generation, cleaned of metadata and stored."""

    generation = models.ForeignKey(Generation, on_delete=models.PROTECT, related_name="references")
    index = models.PositiveIntegerField()
    role = models.CharField(max_length=8)
    name = models.CharField(max_length=100, blank=True)
    storage_name = models.CharField(max_length=200)
    mime_type = models.CharField(max_length=20)
    width = models.PositiveIntegerField()
    height = models.PositiveIntegerField()
    byte_count = models.PositiveIntegerField()
    sha256 = models.CharField(max_length=64)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["generation", "index"], name="reference_once")]

    def __str__(self) -> str:
        return f"{self.role} {self.index}"


class Attempt(models.Model):
    """One call to one channel, written before its first byte leaves. `unknown` means perhaps billed upstream."""

    class Status(models.TextChoices):
        SENT = "sent"
        OK = "ok"
        ERROR = "error"
        UNKNOWN = "unknown"

    # No index of their own: `attempt_once` and `attempt_channel` begin with them.
    output = models.ForeignKey(Output, on_delete=models.PROTECT, related_name="attempts", db_index=False)
    number = models.PositiveIntegerField()
    channel = models.ForeignKey("channels.Channel", on_delete=models.PROTECT, related_name="attempts", db_index=False)
    lane = models.CharField(max_length=8, blank=True, default="", db_default="", help_text="If not that of the price.")
    job = models.ForeignKey("Job", null=True, on_delete=models.PROTECT, related_name="attempts")
    lease_number = models.PositiveIntegerField()
    image_model = models.ForeignKey(
        "ImageModel", null=True, on_delete=models.PROTECT, related_name="+", help_text="If not the one asked for."
    )
    upstream_model = models.CharField(max_length=120)
    is_hedge = models.BooleanField(default=False, db_default=False, help_text="A second call beside a slow one.")
    handle = models.TextField(blank=True, default="", db_default="", help_text="What names its work upstream.")
    token_estimate = models.PositiveIntegerField(default=0, db_default=0)
    prompt_hash = models.CharField(max_length=64)
    status = models.CharField(max_length=7, choices=Status, default=Status.SENT)
    error_kind = models.CharField(max_length=12, blank=True, default="")
    upstream_status = models.PositiveIntegerField(null=True)
    upstream_message = models.CharField(max_length=500, blank=True, default="", help_text="For the operator only.")
    finish_reason = models.CharField(max_length=40, blank=True, default="")
    upstream_request_id = models.CharField(max_length=120, blank=True, default="")
    usage = models.JSONField(null=True)
    cost_micros = models.BigIntegerField(default=0)
    is_delivered = models.BooleanField(default=False)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)
    latency_ms = models.PositiveIntegerField(null=True)

    class Meta:
        indexes = [
            models.Index(fields=["channel", "-started_at"], name="attempt_channel"),
            models.Index(
                fields=["started_at"],
                include=["channel", "cost_micros"],
                condition=Q(is_delivered=False, cost_micros__gt=0),
                name="attempt_lost",
            ),
        ]
        constraints = [
            models.UniqueConstraint(fields=["output", "number"], name="attempt_once"),
            models.CheckConstraint(condition=Q(status__in=("sent", "ok", "error", "unknown")), name="attempt_status"),
            models.CheckConstraint(condition=Q(cost_micros__gte=0), name="attempt_cost"),
        ]

    def __str__(self) -> str:
        return f"attempt {self.number} of {self.output_id}"


class Media(models.Model):
    """The image of an output as the upstream sent it, byte for byte."""

    output = models.OneToOneField(Output, on_delete=models.PROTECT, related_name="media")
    attempt = models.OneToOneField(Attempt, on_delete=models.PROTECT, related_name="media")
    storage_name = models.CharField(max_length=200)
    mime_type = models.CharField(max_length=20)
    width = models.PositiveIntegerField()
    height = models.PositiveIntegerField()
    byte_count = models.PositiveIntegerField()
    sha256 = models.CharField(max_length=64)
    created_at = models.DateTimeField()
    purged_at = models.DateTimeField(null=True, editable=False, help_text="The file was forgotten; the charge stays.")

    class Meta:
        verbose_name_plural = "media"
        indexes = [
            models.Index(fields=["created_at"], condition=Q(purged_at=None), name="media_kept"),
            models.Index(fields=["sha256"], name="media_sha256"),
        ]

    def __str__(self) -> str:
        return self.storage_name


class Charge(models.Model):
    """The charge for one delivered output: which price, how much, what it cost us, and the entry that took it.

    A quote of 0 makes no hold and a charge of 0, without an entry. Never changed.
    """

    class Cache(models.TextChoices):
        """What the cache had for a request that asked for it."""

        HIT = "hit"
        MISS = "miss"

    output = models.OneToOneField(Output, on_delete=models.PROTECT, related_name="charge")
    # No index of its own: `charge_account_sums` begins with it.
    account = models.ForeignKey("accounts.Account", on_delete=models.PROTECT, related_name="charges", db_index=False)
    api_key = models.ForeignKey("accounts.ApiKey", null=True, on_delete=models.PROTECT, related_name="charges")
    mode = models.CharField(max_length=4)
    image_model = models.ForeignKey("ImageModel", on_delete=models.PROTECT, related_name="charges")
    channel = models.ForeignKey("channels.Channel", on_delete=models.PROTECT, related_name="charges")
    price = models.ForeignKey(Price, on_delete=models.PROTECT, related_name="charges")
    entry = models.OneToOneField("ledger.Entry", null=True, on_delete=models.PROTECT, related_name="charge")
    image_size = models.CharField(max_length=2)
    reference_count = models.PositiveIntegerField()
    quote_micros = models.BigIntegerField()
    price_micros = models.BigIntegerField()
    cost_micros = models.BigIntegerField()
    media_sha256 = models.CharField(max_length=64)
    cache = models.CharField(
        max_length=4, choices=Cache, blank=True, default="", db_default="", help_text="Empty = it was not asked for."
    )
    saved_price_micros = models.BigIntegerField(
        default=0, db_default=0, help_text="What the stored image had cost its customer, above what this one does."
    )
    saved_cost_micros = models.BigIntegerField(
        default=0, db_default=0, help_text="What providers had billed for the stored image."
    )
    created_at = models.DateTimeField()

    class Meta:
        indexes = [
            # What sums need is in the index itself; a row need not be looked up for it.
            models.Index(
                fields=["account", "mode", "created_at"],
                include=["price_micros", "cost_micros", "image_model", "api_key"],
                name="charge_account_sums",
            ),
            models.Index(fields=["mode", "created_at"], include=["price_micros", "cost_micros"], name="charge_sums"),
            # Few ask for the cache: sums of it look at those alone.
            models.Index(fields=["account", "mode", "created_at"], condition=~Q(cache=""), name="charge_account_cache"),
            models.Index(fields=["mode", "created_at"], condition=~Q(cache=""), name="charge_cache"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(price_micros__gte=0, price_micros__lte=F("quote_micros")), name="charge_within_quote"
            ),
            models.CheckConstraint(condition=Q(price_micros=0) | Q(entry__isnull=False), name="charge_entry"),
        ]

    @property
    def margin_micros(self) -> int:
        return self.price_micros - self.cost_micros

    def __str__(self) -> str:
        return f"{self.price_micros} for {self.output_id}"
