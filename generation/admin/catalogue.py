"""The catalogue in the operator's admin: image models, what each can do, and their other names."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from accounts.admin.fields import LinesField, boxes
from accounts.ledger.admin.columns import ReadOnlyInline, RowAdmin, link
from accounts.transactions import write_transaction
from generation.contract import SIZES
from generation.models import ImageModel, ModelAlias


class ImageModelForm(forms.ModelForm):  # type: ignore[type-arg]
    """A model's abilities."""

    sizes = boxes([(size, size) for size in SIZES])
    default_size = forms.ChoiceField(choices=[(size, size) for size in SIZES])
    aspect_ratios = LinesField(help_text="One per line, such as 16:9.")
    thinking_levels = LinesField(required=False, help_text="One per line; none = the level cannot be chosen.")

    class Meta:
        model = ImageModel
        exclude = ("is_default",)

    def clean_sizes(self) -> list[str]:
        # The catalogue lists sizes from small to large; prices of what was delivered depend on it.
        return [size for size in SIZES if size in self.cleaned_data["sizes"]]

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or {}
        if data.get("default_size") not in data.get("sizes", [data.get("default_size")]):
            self.add_error("default_size", "The default size is one of the sizes.")
        return data


@admin.display(description="alias")
def _alias(row: ModelAlias) -> SafeString:
    return link("generation_modelalias_change", row.pk, row.alias)


class AliasInline(ReadOnlyInline):
    """Other names of a model. They are rows' keys, so they are added and removed on their own page."""

    model = ModelAlias
    verbose_name_plural = "model aliases"
    fields: ClassVar[Any] = (_alias, "note")


@admin.display(description="sizes")
def _sizes(row: ImageModel) -> str:
    return ", ".join(row.sizes)


@admin.register(ImageModel)
class ImageModelAdmin(RowAdmin):
    """What can be asked for. A size without a price is not sold."""

    form = ImageModelForm
    list_display = (
        "name",
        "title",
        "provider",
        "is_default",
        "is_enabled",
        _sizes,
        "released_on",
        "deprecated_on",
        "shutdown_on",
    )
    list_filter = ("is_enabled", "provider")
    search_fields = ("name", "title", "aliases__alias")
    ordering = ("-is_default", "name")
    inlines = (AliasInline,)
    actions = ("make_default",)

    def get_readonly_fields(self, request: HttpRequest, obj: ImageModel | None = None) -> Any:
        return ("name",) if obj else ()

    def has_delete_permission(self, request: HttpRequest, obj: ImageModel | None = None) -> bool:
        return super().has_delete_permission(request, obj) and (obj is None or not obj.is_default)

    @admin.action(description="Make this the default model", permissions=["change"])
    def make_default(self, request: HttpRequest, queryset: QuerySet[ImageModel]) -> None:
        chosen = list(queryset[:2])
        if len(chosen) != 1 or not chosen[0].is_enabled:
            self.message_user(request, "Choose one model that is enabled.", messages.ERROR)
            return
        with write_transaction():
            ImageModel.objects.filter(is_default=True).update(is_default=False)
            ImageModel.objects.filter(pk=chosen[0].pk).update(is_default=True)
        self.log_change(request, chosen[0], "made the default")
        self.message_user(request, f"{chosen[0]} is the default model now.", messages.SUCCESS)


@admin.register(ModelAlias)
class ModelAliasAdmin(RowAdmin):
    """Names that lead to a model, with a warning in the answer."""

    list_display = ("alias", "image_model", "note")
    list_filter = ("image_model",)
    list_select_related = ("image_model",)
    search_fields = ("alias",)
    ordering = ("image_model", "alias")

    def get_readonly_fields(self, request: HttpRequest, obj: ModelAlias | None = None) -> Any:
        return ("alias",) if obj else ()
