"""Configured roads to providers: adapter kind, credentials, priority, and how they are doing."""

from __future__ import annotations

from django.db import models
from django.db.models import Q, Value

from accounts import sealed
from accounts.identifiers import new_uuid
from accounts.models import MODES


class Channel(models.Model):
    """One road. Credentials are sealed to this row and never shown again; lower priority numbers go first."""

    id = models.UUIDField(primary_key=True, default=new_uuid, editable=False)
    name = models.CharField(max_length=60, unique=True)
    kind = models.CharField(max_length=20, help_text="The adapter that drives it.")
    mode = models.CharField(max_length=4, choices=MODES, default="live")
    account = models.ForeignKey(
        "accounts.Account",
        null=True,
        blank=True,
        editable=False,
        on_delete=models.PROTECT,
        related_name="own_channels",
        help_text="Whose own key this is, and who alone is served by it.",
    )
    is_house_allowed = models.BooleanField(
        default=False, db_default=False, editable=False, help_text="The house's channels may serve where this cannot."
    )
    base_url = models.URLField(blank=True, default="", help_text="Empty = the provider's own address.")
    sealed_secret = models.TextField(blank=True, default="", editable=False)
    is_from_environment = models.BooleanField(default=False, editable=False)
    priority = models.PositiveIntegerField(default=100)
    weight = models.PositiveIntegerField(default=1, db_default=1, help_text="Its share among roads of one priority.")
    is_enabled = models.BooleanField(default=True)
    upstream_models = models.JSONField(default=dict, blank=True, help_text='{"image model": "what this road calls it"}')
    only_models = models.JSONField(default=list, blank=True, help_text="Image models it serves; empty = all.")
    options = models.JSONField(
        default=dict, blank=True, db_default=Value({}, models.JSONField()), help_text="Settings of its adapter."
    )
    call_micros = models.JSONField(
        default=dict,
        blank=True,
        db_default=Value({}, models.JSONField()),
        help_text='What this road bills for a picture: {"image model": micros} or {"image model": {"4K": micros}}.',
    )
    requests_per_minute = models.PositiveIntegerField(null=True, blank=True)
    tokens_per_minute = models.PositiveIntegerField(null=True, blank=True)
    queued_tokens = models.PositiveBigIntegerField(
        null=True, blank=True, help_text="Tokens that may wait in its jobs: 2,000,000 in Google's tier 1."
    )
    concurrency = models.PositiveIntegerField(null=True, blank=True, help_text="Calls out at once.")

    checked_at = models.DateTimeField(null=True, editable=False, help_text="When its provider was last asked for free.")
    check_words = models.CharField(max_length=300, blank=True, default="", db_default="", editable=False)
    balance_micros = models.BigIntegerField(
        null=True, editable=False, help_text="What money its provider says is left."
    )
    disabled_reason = models.CharField(max_length=500, blank=True, default="", editable=False)
    cool_until = models.DateTimeField(null=True, blank=True, editable=False)
    model_health = models.JSONField(default=dict, db_default=Value({}, models.JSONField()), editable=False)
    failures_in_a_row = models.PositiveIntegerField(default=0, editable=False)
    last_error = models.CharField(max_length=500, blank=True, default="", editable=False)
    last_error_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_success_at = models.DateTimeField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(mode__in=("live", "test")), name="channel_mode"),
            models.CheckConstraint(
                condition=Q(account=None) | Q(mode="live", base_url=""), name="channel_own_key_has_no_address"
            ),
            models.UniqueConstraint(fields=["account", "kind"], name="channel_one_own_key_of_a_kind"),
        ]

    @property
    def _place(self) -> str:
        return f"channels_channel:{self.id}:secret"

    def set_secret(self, plain: str) -> None:
        """Seal credentials into the row; the caller saves it."""
        self.sealed_secret = sealed.seal(plain, place=self._place) if plain else ""

    def secret(self) -> str:
        """The credentials, or accounts.sealed.SealBroken. For the worker only."""
        return sealed.unseal(self.sealed_secret, place=self._place) if self.sealed_secret else ""

    def __str__(self) -> str:
        return self.name
