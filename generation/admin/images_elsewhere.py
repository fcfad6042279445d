"""Adds images to the pages of accounts and the ledger, which have never heard of them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.db.models import Count, IntegerField, OuterRef, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString

from accounts.admin.tenants import AccountAdmin
from accounts.identifiers import parse_public_id, public_id
from accounts.ledger.admin.columns import link
from accounts.ledger.admin.rows import EntryAdmin, HoldAdmin
from accounts.ledger.models import Entry, Hold
from accounts.models import Account
from generation.admin import figures
from generation.models import Charge

_WINDOW = timedelta(days=30)


@admin.display(description="images, 30 days", ordering="image_count")
def _image_count(row: Any) -> int:
    return int(row.image_count)


class AccountWithImagesAdmin(AccountAdmin):
    """Accounts, and how many images each got lately."""

    list_display = (*AccountAdmin.list_display[:-1], _image_count, AccountAdmin.list_display[-1])
    lists = {"generation_generation": "Generations", "generation_charge": "Charges", **AccountAdmin.lists}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Account]:
        recent = Charge.objects.filter(account=OuterRef("pk"), created_at__gte=timezone.now() - _WINDOW)
        charges = figures.in_both_modes(recent).order_by()
        counted = charges.values("account").annotate(count=Count("*")).values("count")
        image_count = Coalesce(Subquery(counted, output_field=IntegerField()), Value(0))
        return super().get_queryset(request).annotate(image_count=image_count)


def _output_link(output_id: Any) -> SafeString:
    name = public_id("out", output_id)
    return link("generation_output", name, name)


@admin.display(description="image")
def _hold_image(row: Hold) -> SafeString:
    return _output_link(row.output_id)


@admin.display(description="image")
def _entry_image(row: Entry) -> SafeString | str:
    return _output_link(row.hold.output_id) if row.hold else "-"


@admin.display(description="charge")
def _entry_charge(row: Entry) -> SafeString | str:
    charge = Charge.objects.filter(entry=row).first()
    return link("generation_charge_change", charge.pk, f"charge {charge.pk}") if charge else "-"


class _SearchesOutputs:
    """Finds rows by the public id of an output."""

    output_path = "output_id"

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[Any], search_term: str) -> Any:
        output_id = parse_public_id("out", search_term.strip())
        if output_id is not None:
            return queryset.filter(**{self.output_path: output_id}), False
        return super().get_search_results(request, queryset, search_term)  # type: ignore[misc]


class EntryWithImageAdmin(_SearchesOutputs, EntryAdmin):
    """The journal, with the image each entry was for."""

    output_path = "hold__output_id"
    list_display = (*EntryAdmin.list_display, _entry_image)
    fields = (*EntryAdmin.fields, _entry_image, _entry_charge)
    search_help_text = "Account, actor, reason, idempotency key, or out_..."


class HoldWithImageAdmin(_SearchesOutputs, HoldAdmin):
    """Holds, with the image each is for."""

    list_display = (*HoldAdmin.list_display, _hold_image)
    fields = (*HoldAdmin.fields, _hold_image)
    search_help_text = "Account, or out_..."


for _model, _admin in ((Account, AccountWithImagesAdmin), (Entry, EntryWithImageAdmin), (Hold, HoldWithImageAdmin)):
    admin.site.unregister(_model)
    admin.site.register(_model, _admin)
