"""The form of a channel in the admin: its settings, checked against what its adapter and the catalogue know."""

from __future__ import annotations

from typing import Any

from django import forms

from accounts.admin.fields import boxes
from generation.channels import registry, seed
from generation.channels.models import Channel
from generation.contract import SIZES
from generation.models import ImageModel


def _model_names() -> list[tuple[str, str]]:
    return [(name, name) for name in ImageModel.objects.order_by("name").values_list("name", flat=True)]


class ChannelForm(forms.ModelForm):  # type: ignore[type-arg]
    """A channel's settings. The secret is written, never read back."""

    kind = forms.ChoiceField(choices=lambda: [(kind, kind) for kind in registry.ADAPTERS if kind not in seed.HOUSE])
    base_url = forms.URLField(
        label="Base URL",
        required=False,
        max_length=200,
        assume_scheme="https",
        widget=forms.URLInput(attrs={"size": 60}),
        help_text="Empty = the provider's own.",
    )
    secret = forms.CharField(
        label="Secret",
        required=False,
        max_length=10_000,
        widget=forms.PasswordInput(render_value=False, attrs={"autocomplete": "new-password", "size": 60}),
        help_text="The provider's API key. Kept encrypted and never shown again; empty = unchanged.",
    )
    only_models = boxes(
        _model_names,
        required=False,
        help_text="Image models it serves; none ticked = those whose costs the catalogue has for its kind.",
    )

    class Meta:
        model = Channel
        fields = (
            "name",
            "kind",
            "mode",
            "priority",
            "weight",
            "is_enabled",
            "base_url",
            "options",
            "upstream_models",
            "only_models",
            "call_micros",
            "requests_per_minute",
            "tokens_per_minute",
            "concurrency",
            "queued_tokens",
        )

    def clean_call_micros(self) -> dict[str, Any]:
        found = self.cleaned_data["call_micros"] or {}
        if not isinstance(found, dict) or not all(_is_price(each) for each in found.values()):
            raise forms.ValidationError('Write {"image model": micros} or {"image model": {"4K": micros}}.')
        _check_models(found)
        return found

    def clean_upstream_models(self) -> dict[str, str]:
        found = self.cleaned_data["upstream_models"] or {}
        if not isinstance(found, dict) or not all(
            isinstance(each, str) and 0 < len(each) <= 120 for each in found.values()
        ):
            raise forms.ValidationError('Write {"image model": "what this road calls it"}.')
        _check_models(found)
        return found

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or {}
        # A road keeps its kind and mode, so that a form for one that is there has neither.
        kind, mode = data.get("kind", self.instance.kind), data.get("mode", self.instance.mode)
        if kind == "sandbox" and mode == "live":
            raise forms.ValidationError("The sandbox draws play pictures; it serves test mode only.")
        _check_options(kind, data.get("options") or {})
        return data


def _is_price(value: Any) -> bool:
    if isinstance(value, dict):
        return bool(value) and all(size in SIZES and type(each) is int and each >= 0 for size, each in value.items())
    return type(value) is int and value >= 0


def _check_models(found: dict[str, Any]) -> None:
    unknown = sorted(set(found) - {name for name, _ in _model_names()})
    if unknown:
        raise forms.ValidationError(f"The catalogue has no {', '.join(unknown)}.")


def _check_options(kind: str, options: Any) -> None:
    known = registry.ADAPTERS[kind].options if kind in registry.ADAPTERS else {}
    if not isinstance(options, dict) or not all(isinstance(each, str) for each in options.values()):
        raise forms.ValidationError({"options": 'Write {"setting": "value"}.'})
    for name, value in options.items():
        if name not in known:
            settings = ", ".join(known) or "no settings"
            raise forms.ValidationError(
                {"options": f"A channel of the kind {kind} has {settings}, and no {name[:40]!r}."}
            )
        if known[name].choices and value not in known[name].choices:
            raise forms.ValidationError({"options": f"{name} is one of {', '.join(known[name].choices)}."})
