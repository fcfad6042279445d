"""The shape of a create, checked field by field."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from rest_framework import serializers

from generation.abilities import AUTO
from generation.contract import MASK, ROLES, SIZES
from generation.dialects.native.fields import FlagField, StrictSerializer, TextField, WholeField
from generation.dialects.native.preferences import PreferencesSchema

_MAX_INTEGER = 2**31 - 1
RESPONSE_FORMATS = ("url", "b64_json")


class Base64Field(serializers.CharField):
    """Bytes as standard base64, with or without a data URL's head."""

    default_error_messages = {"base64": "Not valid base64."}

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, str):
            self.fail("invalid")
        _, _, body = data.rpartition(",") if data.startswith("data:") else ("", "", data)
        try:
            return base64.b64decode(body, validate=True)
        except (binascii.Error, ValueError):
            self.fail("base64")


class ReferenceSchema(StrictSerializer):
    """One image sent in: exactly one of url, data, output and file."""

    url = TextField(required=False, max_length=2048, help_text="A public http or https address; redirects are refused.")
    data = Base64Field(required=False, help_text="The image in base64.")  # type: ignore[assignment]
    output = TextField(required=False, max_length=40, help_text="An output of yours, out_...")
    file = TextField(
        required=False, max_length=100, help_text="In multipart: the name of the part that carries the file."
    )
    role = serializers.ChoiceField(choices=(*ROLES, MASK), default="object")
    name = TextField(required=False, default="", allow_blank=True, max_length=100)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        given = [name for name in ("url", "data", "output", "file") if attrs.get(name)]
        if len(given) != 1:
            raise serializers.ValidationError("Give exactly one of url, data, output and file.")
        return attrs


class GenerationCreateSchema(PreferencesSchema):
    """What is asked. Only `prompt` is required."""

    prompt = TextField(trim_whitespace=False, allow_blank=True, help_text="What the image should show.")
    model = TextField(
        required=False, allow_blank=True, default="", max_length=120, help_text="Default: gemini-3-pro-image."
    )
    n = WholeField(required=False, default=1, min_value=1, max_value=1000)
    aspect_ratio = TextField(
        required=False,
        allow_null=True,
        default=None,
        max_length=10,
        help_text="Default: the first reference's, else 1:1.",
    )
    image_size = serializers.ChoiceField(
        choices=(*SIZES, AUTO),
        required=False,
        allow_null=True,
        default=None,
        help_text="auto: as display_width_px and purpose say. Default: the model's own, 2K for gemini-3-pro-image.",
    )
    references = serializers.ListField(child=ReferenceSchema(), required=False, default=list, max_length=64)
    previous = TextField(
        required=False,
        allow_blank=True,
        default="",
        max_length=40,
        help_text="The output to continue, or a generation that has one output.",
    )
    search_grounding = FlagField(required=False, default=False)
    thinking_level = TextField(required=False, allow_null=True, default=None, max_length=10)
    seed = WholeField(
        required=False,
        allow_null=True,
        default=None,
        min_value=0,
        max_value=_MAX_INTEGER - 1000,
        help_text="With n > 1, each output uses seed + index.",
    )
    response_format = serializers.ChoiceField(
        choices=RESPONSE_FORMATS,
        required=False,
        default="url",
        help_text="b64_json: the answer has the finished images in it, too, as base64.",
    )
    metadata = serializers.DictField(child=TextField(allow_blank=True, max_length=500), required=False, default=dict)
    tags = serializers.ListField(child=TextField(max_length=64), required=False, default=list, max_length=20)

    def validate_metadata(self, value: dict[str, str]) -> dict[str, str]:
        if len(value) > 20 or any(len(name) > 64 for name in value):
            raise serializers.ValidationError("At most 20 names of at most 64 characters.")
        if any(letter == "\x00" or "\ud800" <= letter <= "\udfff" for name in value for letter in name):
            raise serializers.ValidationError("A name has a NUL character or half of a surrogate pair.")
        return value
