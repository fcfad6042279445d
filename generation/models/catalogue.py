"""Image models with their abilities, their aliases, and the dated price book."""

from __future__ import annotations

from django.db import models
from django.db.models import Q, Value

from generation.contract import SIZES

# Lanes that have prices of their own: at once, in minutes, within a day.
PRICE_LANES = [("standard", "standard"), ("flex", "flex"), ("batch", "batch")]


class ImageModel(models.Model):
    """A row of the catalogue: what a model is called, what it can do, and when it lives."""

    name = models.CharField(max_length=80, primary_key=True)
    title = models.CharField(max_length=80)
    provider = models.CharField(max_length=40)
    upstream_model = models.CharField(
        max_length=120, help_text="What providers are asked for, unless a channel says otherwise."
    )
    upstream_names = models.JSONField(
        default=dict,
        blank=True,
        db_default=Value({}, models.JSONField()),
        help_text='{"kind of channel": "what such channels call it"}',
    )
    family = models.CharField(max_length=40, blank=True, default="", db_default="", help_text="Drafts stay within it.")
    is_default = models.BooleanField(default=False)
    is_enabled = models.BooleanField(default=True)
    sizes = models.JSONField(default=list)
    default_size = models.CharField(max_length=2)
    are_sizes_selectable = models.BooleanField(default=True)
    aspect_ratios = models.JSONField(default=list)
    max_prompt_characters = models.PositiveIntegerField()
    max_n = models.PositiveIntegerField(default=10)
    max_references = models.PositiveIntegerField()
    max_subjects = models.PositiveIntegerField()
    has_search_grounding = models.BooleanField(default=False)
    thinking_levels = models.JSONField(default=list, blank=True)
    has_seed = models.BooleanField(default=True)
    has_multi_turn = models.BooleanField(default=True)
    has_mask = models.BooleanField(default=False, db_default=False)
    is_multimodal = models.BooleanField(
        default=True, db_default=True, help_text="It answers with words and pictures, not with pictures only."
    )
    released_on = models.DateField(null=True, blank=True)
    deprecated_on = models.DateField(null=True, blank=True)
    shutdown_on = models.DateField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["is_default"], condition=Q(is_default=True), name="image_model_one_default")
        ]

    def __str__(self) -> str:
        return self.name


class ModelAlias(models.Model):
    """Another name for an image model. It leads to that model only, and the answer says so in a warning."""

    alias = models.CharField(max_length=120, primary_key=True)
    image_model = models.ForeignKey(ImageModel, on_delete=models.CASCADE, related_name="aliases")
    note = models.CharField(max_length=200, blank=True)

    class Meta:
        verbose_name_plural = "model aliases"

    def __str__(self) -> str:
        return f"{self.alias} -> {self.image_model_id}"


class Price(models.Model):
    """What we ask for one image of a model and size from a moment on. Micros; basis points are 1/10,000."""

    image_model = models.ForeignKey(ImageModel, on_delete=models.PROTECT, related_name="prices")
    image_size = models.CharField(max_length=2, choices=[(size, size) for size in SIZES])
    lane = models.CharField(max_length=8, choices=PRICE_LANES, default="standard")
    valid_from = models.DateTimeField()
    image_micros = models.BigIntegerField()
    reference_micros = models.BigIntegerField(default=0)
    input_micros_per_million_tokens = models.BigIntegerField(default=0)
    input_allowance_tokens = models.PositiveIntegerField(default=2000)
    grounding_micros = models.BigIntegerField(default=0)
    cached_micros = models.BigIntegerField(
        default=0, db_default=0, help_text="For an image that was made before, mark-up included."
    )
    hedge_micros = models.BigIntegerField(
        null=True, blank=True, help_text="For a second call beside a slow one, mark-up included; empty = not offered."
    )
    own_key_micros = models.BigIntegerField(
        default=0, db_default=0, help_text="The fee for an image made with the account's own key, mark-up included."
    )
    markup_basis_points = models.PositiveIntegerField(default=1000)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["image_model", "image_size", "lane", "valid_from"], name="price_once"),
            models.CheckConstraint(
                condition=Q(
                    image_micros__gte=0,
                    reference_micros__gte=0,
                    grounding_micros__gte=0,
                    cached_micros__gte=0,
                    own_key_micros__gte=0,
                    input_micros_per_million_tokens__gte=0,
                ),
                name="price_positive",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.image_model_id} {self.image_size} from {self.valid_from:%Y-%m-%d}"


class Cost(models.Model):
    """What a kind of channel bills us for a model from a moment on. Micros per million tokens, or flat by size."""

    channel_kind = models.CharField(max_length=20)
    image_model = models.ForeignKey(ImageModel, on_delete=models.PROTECT, related_name="costs")
    lane = models.CharField(max_length=8, choices=PRICE_LANES, default="standard")
    valid_from = models.DateTimeField()
    input_micros_per_million_tokens = models.BigIntegerField(default=0)
    text_output_micros_per_million_tokens = models.BigIntegerField(default=0)
    image_output_micros_per_million_tokens = models.BigIntegerField(default=0)
    grounding_query_micros = models.BigIntegerField(default=0)
    image_tokens_by_size = models.JSONField(default=dict, help_text="Used where the answer does not say.")
    image_micros_by_size = models.JSONField(
        default=dict, blank=True, db_default=Value({}, models.JSONField()), help_text="Flat prices, in place of tokens."
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["channel_kind", "image_model", "lane", "valid_from"], name="cost_once")
        ]

    def __str__(self) -> str:
        return f"{self.channel_kind}: {self.image_model_id} from {self.valid_from:%Y-%m-%d}"
