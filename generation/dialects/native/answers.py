"""What answers of the native API look like, for its documentation."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers


class WarningSchema(serializers.Serializer[Any]):
    code = serializers.CharField()
    message = serializers.CharField()


class ErrorDetailSchema(serializers.Serializer[Any]):
    message = serializers.CharField()
    type = serializers.CharField()
    code = serializers.CharField()
    param = serializers.CharField(allow_null=True)
    request_id = serializers.CharField()
    billed = serializers.BooleanField()
    docs = serializers.CharField()


class ErrorSchema(serializers.Serializer[Any]):
    """Every answer that is not a success."""

    error = ErrorDetailSchema()


class UsageSchema(serializers.Serializer[Any]):
    input_text_tokens = serializers.IntegerField()
    input_image_tokens = serializers.IntegerField()
    output_text_tokens = serializers.IntegerField()
    output_image_tokens = serializers.IntegerField()
    thinking_tokens = serializers.IntegerField()
    search_queries = serializers.IntegerField()


class SourceSchema(serializers.Serializer[Any]):
    title = serializers.CharField()
    url = serializers.CharField()


class AttemptSchema(serializers.Serializer[Any]):
    number = serializers.IntegerField()
    channel = serializers.CharField()
    status = serializers.ChoiceField(choices=["sent", "ok", "error", "unknown"])
    started_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)


class OutputErrorSchema(serializers.Serializer[Any]):
    code = serializers.CharField()
    message = serializers.CharField()


class OutputSchema(serializers.Serializer[Any]):
    id = serializers.CharField()
    index = serializers.IntegerField()
    status = serializers.ChoiceField(choices=["queued", "running", "succeeded", "failed", "canceled"])
    model = serializers.CharField(help_text="What made it: the model asked for, or a fallback.")
    origin = serializers.ChoiceField(
        choices=["model", "cache", "placeholder"],
        help_text="Made for this request, made before for the same one, or drawn by nobody's model.",
    )
    url = serializers.CharField(
        allow_null=True, help_text="A link that expires; GET the generation again for a fresh one."
    )
    b64_json = serializers.CharField(
        required=False, allow_null=True, help_text="The image in base64, where response_format asked for it."
    )
    mime_type = serializers.CharField(allow_null=True)
    width = serializers.IntegerField(allow_null=True)
    height = serializers.IntegerField(allow_null=True)
    byte_count = serializers.IntegerField(allow_null=True)
    text = serializers.CharField(allow_null=True)
    sources = SourceSchema(many=True)
    search_suggestions = serializers.CharField(allow_null=True, help_text="HTML that Google obliges an app to show.")
    usage = UsageSchema(allow_null=True)
    price_micros = serializers.IntegerField(allow_null=True)
    attempts = AttemptSchema(many=True)
    error = OutputErrorSchema(allow_null=True)


class GenerationSchema(serializers.Serializer[Any]):
    id = serializers.CharField()
    status = serializers.ChoiceField(choices=["queued", "running", "succeeded", "failed", "canceled"])
    mode = serializers.ChoiceField(choices=["live", "test"])
    model = serializers.CharField()
    lane = serializers.ChoiceField(choices=["standard", "flex", "batch"])
    prompt = serializers.CharField()
    n = serializers.IntegerField()
    aspect_ratio = serializers.CharField()
    image_size = serializers.CharField()
    quote_micros = serializers.IntegerField()
    price_micros = serializers.IntegerField()
    warnings = WarningSchema(many=True)
    metadata = serializers.DictField(child=serializers.CharField())
    tags = serializers.ListField(child=serializers.CharField())
    error = OutputErrorSchema(allow_null=True)
    created_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)
    outputs = OutputSchema(many=True)


class GenerationListSchema(serializers.Serializer[Any]):
    data = GenerationSchema(many=True)  # type: ignore[assignment]
    has_more = serializers.BooleanField()
    next_cursor = serializers.CharField(allow_null=True)


class QuoteSchema(serializers.Serializer[Any]):
    model = serializers.CharField()
    n = serializers.IntegerField()
    aspect_ratio = serializers.CharField()
    image_size = serializers.CharField()
    per_image_micros = serializers.IntegerField()
    quote_micros = serializers.IntegerField(help_text="The most the whole request may cost.")
    lane = serializers.ChoiceField(choices=["standard", "flex", "batch"])
    lane_reason = serializers.CharField(help_text="Why this lane, in words.")
    warnings = WarningSchema(many=True)


class PriceSchema(serializers.Serializer[Any]):
    image_size = serializers.CharField()
    lane = serializers.ChoiceField(choices=["standard", "flex", "batch"])
    image_micros = serializers.IntegerField(help_text="With mark-up, rounded up.")
    reference_micros = serializers.IntegerField()
    grounding_micros = serializers.IntegerField()
    input_micros_per_million_tokens = serializers.IntegerField()
    input_allowance_tokens = serializers.IntegerField()


class ImageModelSchema(serializers.Serializer[Any]):
    id = serializers.CharField()
    title = serializers.CharField()
    provider = serializers.CharField()
    is_default = serializers.BooleanField()
    aliases = serializers.ListField(child=serializers.CharField())
    sizes = serializers.ListField(child=serializers.CharField(), help_text="The sizes that have a price here.")
    default_size = serializers.CharField()
    aspect_ratios = serializers.ListField(child=serializers.CharField())
    max_prompt_characters = serializers.IntegerField()
    max_n = serializers.IntegerField()
    max_references = serializers.IntegerField()
    max_subjects = serializers.IntegerField()
    search_grounding = serializers.BooleanField()
    thinking_levels = serializers.ListField(child=serializers.CharField())
    multi_turn = serializers.BooleanField()
    released_on = serializers.DateField(allow_null=True)
    deprecated_on = serializers.DateField(allow_null=True)
    shutdown_on = serializers.DateField(allow_null=True)
    prices = PriceSchema(many=True)


class ImageModelListSchema(serializers.Serializer[Any]):
    data = ImageModelSchema(many=True)  # type: ignore[assignment]
    has_more = serializers.BooleanField()
    next_cursor = serializers.CharField(allow_null=True)


class BudgetSchema(serializers.Serializer[Any]):
    limit_micros = serializers.IntegerField()
    reserved_micros = serializers.IntegerField()
    spent_micros = serializers.IntegerField()
    period = serializers.CharField()
    starts_at = serializers.DateTimeField(allow_null=True)


class WalletSchema(serializers.Serializer[Any]):
    mode = serializers.ChoiceField(choices=["live", "test"])
    currency = serializers.CharField()
    available_micros = serializers.IntegerField()
    held_micros = serializers.IntegerField()
    debt_micros = serializers.IntegerField()
    status = serializers.ChoiceField(choices=["active", "frozen", "closed"])
    budget = BudgetSchema(allow_null=True, help_text="Of the API key that asks.")


class EntrySchema(serializers.Serializer[Any]):
    id = serializers.CharField()
    kind = serializers.CharField()
    amount_micros = serializers.IntegerField()
    available_after_micros = serializers.IntegerField()
    held_after_micros = serializers.IntegerField()
    debt_after_micros = serializers.IntegerField()
    output = serializers.CharField(allow_null=True)
    payment = serializers.CharField(allow_null=True, help_text="The top-up it stems from.")
    receipt_url = serializers.CharField(help_text="Stripe's receipt, or empty.")
    reason = serializers.CharField()
    created_at = serializers.DateTimeField()


class EntryListSchema(serializers.Serializer[Any]):
    data = EntrySchema(many=True)  # type: ignore[assignment]
    has_more = serializers.BooleanField()
    next_cursor = serializers.CharField(allow_null=True)


class UsageRowSchema(serializers.Serializer[Any]):
    group = serializers.CharField()
    image_count = serializers.IntegerField()
    price_micros = serializers.IntegerField()
    hit_count = serializers.IntegerField(help_text="Images of requests that the cache answered.")
    miss_count = serializers.IntegerField(help_text="Images of requests that asked for the cache in vain.")
    saved_micros = serializers.IntegerField(
        help_text="What the images from the cache had cost when they were made, less what they cost from it."
    )


class UsageListSchema(serializers.Serializer[Any]):
    data = UsageRowSchema(many=True)  # type: ignore[assignment]
    has_more = serializers.BooleanField()
    next_cursor = serializers.CharField(allow_null=True)
