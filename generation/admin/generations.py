"""Generations in the operator's admin: what was asked, what each output went through, and what came of it."""

from __future__ import annotations

import uuid
from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.text import Truncator

from accounts.identifiers import parse_public_id
from accounts.ledger.admin.amounts import dollars
from accounts.ledger.admin.columns import ReadOnlyAdmin, account_filter, account_link, fixed_filter, usd, when
from accounts.ledger.admin.lists import period_filter
from generation import media
from generation.contract import SIZES, Usage
from generation.models import Charge, Generation, Output, State

_SIZES = [(size, size) for size in SIZES]


@admin.display(description="prompt")
def _prompt(row: Generation) -> str:
    return Truncator(row.prompt).chars(60)


@admin.display(description="answer took")
def _seconds(row: Generation) -> str:
    return f"{(row.finished_at - row.created_at).total_seconds():.1f} s" if row.finished_at else "-"


@admin.register(Generation)
class GenerationAdmin(ReadOnlyAdmin):
    """Accepted requests."""

    list_display = (
        "public_id",
        when("created_at", "created"),
        account_link(),
        "mode",
        "status",
        "image_model",
        "image_size",
        "n",
        usd("quote_micros", "quote"),
        usd("price_micros", "price"),
        _seconds,
        _prompt,
    )
    fields: ClassVar[Any] = (
        "public_id",
        account_link(),
        "api_key",
        "user",
        "mode",
        "status",
        "prompt",
        "image_model",
        "model_requested",
        ("image_size", "aspect_ratio", "n"),
        ("thinking_level", "seed", "is_grounded"),
        ("input_image_count", "history_depth", "previous_output"),
        (usd("quote_micros", "quote"), usd("price_micros", "price")),
        ("succeeded_count", "failed_count", "open_count"),
        ("created_at", "finished_at"),
        "metadata",
        "tags",
        "warnings",
    )
    list_filter = (
        "mode",
        "status",
        "image_model",
        fixed_filter("image_size", _SIZES, title="size", parameter_name="image_size"),
        period_filter(),
        account_filter(),
    )
    list_select_related = ("account", "image_model")
    search_fields = ("prompt", "account__name")
    search_help_text = "gen_..., out_..., acc_..., words of the prompt, or the account's name"
    # Ids sort by time, and their index exists.
    ordering = ("-id",)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return tuple(each for line in self.fields for each in (line if isinstance(line, tuple) else (line,)))

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[Generation], search_term: str) -> Any:
        found = _by_public_id(search_term.strip())
        if found is not None:
            return queryset.filter(found), False
        return super().get_search_results(request, queryset, search_term)

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.output_view)
        return [path("output/<str:output_id>/", view, name="generation_output"), *super().get_urls()]

    def output_view(self, request: HttpRequest, output_id: str) -> HttpResponse:
        """Lead from an output's public id to its place on the page of its generation."""
        output = Output.objects.filter(pk__in=filter(None, [parse_public_id("out", output_id)])).first()
        if output is None:
            raise Http404(f"There is no output {output_id[:40]}.")
        url = reverse("admin:generation_generation_change", args=[output.generation_id])
        return HttpResponseRedirect(f"{url}#{output.public_id}")

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        context = {"outputs": _outputs(object_id) if self.has_view_permission(request) else []}
        return super().change_view(request, object_id, form_url, context | (extra_context or {}))


def _by_public_id(text: str) -> Q | None:
    paths = {"gen": "pk", "out": "outputs__pk", "acc": "account_id", "key": "api_key_id"}
    prefix = text.partition("_")[0]
    row_id = parse_public_id(prefix, text) if prefix in paths else None
    return Q(**{paths[prefix]: row_id}) if row_id is not None else None


def _outputs(generation_id: str) -> list[dict[str, Any]]:
    """The outputs of a generation with their attempts, image and charge, for the template."""
    try:
        row_id = uuid.UUID(generation_id)
    except ValueError:
        return []
    rows = Output.objects.filter(generation_id=row_id).select_related("media", "charge__channel", "charge__entry")
    return [_output(row) for row in rows.order_by("index").prefetch_related("attempts__channel")]


def _output(row: Output) -> dict[str, Any]:
    stored = getattr(row, "media", None)
    is_shown = stored is not None and row.state == State.SUCCEEDED
    attempts = sorted(row.attempts.all(), key=lambda each: each.number)
    return {
        "row": row,
        "quote": dollars(row.quote_micros),
        "media": stored,
        "image_url": f"{reverse('image', args=[row.public_id])}?{media.signed_query(row.public_id)}"
        if is_shown
        else "",
        "charge": _charge(getattr(row, "charge", None)),
        "attempts": [
            {"row": each, "cost": dollars(each.cost_micros), "tokens": _tokens(each.usage)} for each in attempts
        ],
    }


def _charge(row: Charge | None) -> dict[str, Any] | None:
    if row is None:
        return None
    return {
        "row": row,
        "price": dollars(row.price_micros),
        "cost": dollars(row.cost_micros),
        "margin": dollars(row.margin_micros),
    }


def _tokens(usage: dict[str, int] | None) -> str:
    if usage is None:
        return "-"
    found = Usage(**usage)
    return f"{found.input_tokens} in, {found.output_tokens} out (image {found.output_image_tokens})"
