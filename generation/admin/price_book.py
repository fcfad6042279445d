"""The price book in the operator's admin: a price is changed by a row with a later date, never by rewriting one."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import AdminSplitDateTime
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html_join
from django.utils.safestring import SafeString, mark_safe

from accounts.ledger.admin.amounts import UsdField, dollars
from accounts.ledger.admin.columns import RowAdmin, usd, when
from generation import catalog, pricing
from generation.admin import figures
from generation.channels import registry
from generation.contract import Usage
from generation.models import Charge, Cost, Price

_BREAK = mark_safe("<br>")  # nosec B308 # a constant, nobody's text


def _usd_field(label: str, help_text: str = "", *, initial: int | None = 0, is_required: bool = True) -> UsdField:
    return UsdField(label=label, help_text=help_text, initial=initial, is_zero_allowed=True, required=is_required)


def _moment_field() -> forms.SplitDateTimeField:
    return forms.SplitDateTimeField(widget=AdminSplitDateTime, initial=timezone.now, label="In force from (UTC)")


class PriceForm(forms.ModelForm):  # type: ignore[type-arg]
    """One price, before the mark-up."""

    valid_from = _moment_field()
    image_micros = _usd_field("Image (USD)", "For one image of this size.", initial=None)
    reference_micros = _usd_field("Reference (USD)", "For each image sent along; 0 = free.", initial=None)
    grounding_micros = _usd_field("Grounding (USD)", "Where the model searched the web; 0 = free.", initial=None)
    input_micros_per_million_tokens = _usd_field(
        "Input (USD per million tokens)", "Above the allowance; 0 = free.", initial=None
    )

    hedge_micros = _usd_field(
        "Second call (USD)", "Beside a slow one; empty = not offered.", initial=None, is_required=False
    )
    cached_micros = _usd_field("Made before (USD)", "For an image from the cache; 0 = free.", initial=0)
    own_key_micros = _usd_field("Own key (USD)", "The fee for an image made with the account's own key.", initial=0)

    class Meta:
        model = Price
        fields = (
            "image_model",
            "image_size",
            "lane",
            "valid_from",
            "image_micros",
            "reference_micros",
            "grounding_micros",
            "input_micros_per_million_tokens",
            "input_allowance_tokens",
            "markup_basis_points",
            "hedge_micros",
            "cached_micros",
            "own_key_micros",
        )
        help_texts = {"markup_basis_points": "1000 = 10 % on top of all of the above."}

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or {}
        if {"image_model", "image_size", "valid_from"} <= data.keys() and _was_sold_after(data):
            self.add_error("valid_from", "Images of this model and size were sold after that: choose a later moment.")
        return data


def _was_sold_after(data: dict[str, Any]) -> bool:
    charges = figures.in_both_modes(Charge.objects.filter(created_at__gte=data["valid_from"]))
    charges = charges.filter(price__image_model=data["image_model"])
    return charges.filter(price__image_size=data["image_size"], price__lane=data.get("lane", "standard")).exists()


@admin.display(description="in force", boolean=True)
def _is_in_force(row: Price) -> bool:
    found = catalog.price_of(row.image_model, row.image_size, at=timezone.now(), lane=row.lane)
    return found == row


@admin.display(description="mark-up", ordering="markup_basis_points")
def _markup(row: Price) -> str:
    return f"{row.markup_basis_points / 100:g} %"


def _sale_micros(row: Price) -> int:
    return pricing.sale_price(catalog.sale_rates(row), reference_count=0, input_text_tokens=0, is_grounded=False)


@admin.display(description="sale price, one image")
def _sale_price(row: Price) -> str:
    return dollars(_sale_micros(row))


def _costs(row: Price) -> list[tuple[str, int]]:
    """(kind of channel, what it bills for the image alone) from the moment the price is in force, or now."""
    at = max(row.valid_from, timezone.now())
    known = Cost.objects.filter(image_model=row.image_model, lane=row.lane, valid_from__lte=at)
    kinds = sorted(set(known.values_list("channel_kind", flat=True)))
    found = []
    for kind in kinds:
        rates = catalog.cost_of(kind, row.image_model, at=at, lane=row.lane)
        found.append((kind, pricing.cost(rates, usage=Usage(), image_size=row.image_size, has_image=True)))
    return found


@admin.display(description="cost estimate")
def _cost_estimate(row: Price) -> SafeString | str:
    return format_html_join(_BREAK, "{}: {}", ((kind, dollars(cost)) for kind, cost in _costs(row))) or "-"


@admin.display(description="margin, one image")
def _margin(row: Price) -> SafeString | str:
    price = _sale_micros(row)
    lines = (
        (kind, dollars(price - cost), f" ({100 * (price - cost) / price:.1f} %)" if price else "")
        for kind, cost in _costs(row)
    )
    return format_html_join(_BREAK, "{}: {}{}", lines) or "-"


@admin.register(Price)
class PriceAdmin(RowAdmin):
    """What we ask. A row that something was accepted or charged at stays as it is."""

    form = PriceForm
    list_display = (
        "image_model",
        "image_size",
        _is_in_force,
        _sale_price,
        _cost_estimate,
        _margin,
        usd("image_micros", "image"),
        _markup,
        when("valid_from", "from"),
        "lane",
    )
    list_filter = ("image_model", "image_size")
    list_select_related = ("image_model",)
    ordering = ("image_model", "image_size", "-valid_from")

    def has_change_permission(self, request: HttpRequest, obj: Price | None = None) -> bool:
        return super().has_change_permission(request, obj) and not _is_used(obj)

    def has_delete_permission(self, request: HttpRequest, obj: Price | None = None) -> bool:
        return super().has_delete_permission(request, obj) and not _is_used(obj)


def _is_used(row: Price | None) -> bool:
    return row is not None and (row.charges.exists() or row.generations.exists())


class CostForm(forms.ModelForm):  # type: ignore[type-arg]
    """What a kind of channel bills us."""

    channel_kind = forms.ChoiceField(choices=lambda: [(kind, kind) for kind in registry.ADAPTERS])
    valid_from = _moment_field()
    input_micros_per_million_tokens = _usd_field("Input (USD per million tokens)")
    text_output_micros_per_million_tokens = _usd_field("Text and thinking (USD per million tokens)")
    image_output_micros_per_million_tokens = _usd_field("Image (USD per million tokens)")
    grounding_query_micros = _usd_field("Grounding (USD per search)")

    class Meta:
        model = Cost
        fields = "__all__"

    def clean_image_tokens_by_size(self) -> dict[str, int]:
        found = self.cleaned_data["image_tokens_by_size"] or {}
        if not isinstance(found, dict) or not all(type(each) is int and each >= 0 for each in found.values()):
            raise forms.ValidationError('Write {"1K": 1120, "4K": 2000}.')
        return found


@admin.register(Cost)
class CostAdmin(RowAdmin):
    """What providers bill. Attempts and charges keep the cost they were given; a new rate is a new row."""

    form = CostForm
    list_display = (
        "channel_kind",
        "image_model",
        when("valid_from", "from"),
        usd("input_micros_per_million_tokens", "input / M"),
        usd("text_output_micros_per_million_tokens", "text / M"),
        usd("image_output_micros_per_million_tokens", "image / M"),
        usd("grounding_query_micros", "search"),
        "image_tokens_by_size",
        "lane",
    )
    list_filter = ("channel_kind", "image_model")
    list_select_related = ("image_model",)
    ordering = ("channel_kind", "image_model", "-valid_from")
