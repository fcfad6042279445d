"""A page of the admin with a form for one deed, such as granting credit; it never saves anything itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib.admin import helpers
from django.http import HttpRequest
from django.template.response import TemplateResponse

if TYPE_CHECKING:
    from accounts.ledger.admin.columns import RowAdmin


def form_page(
    request: HttpRequest, owner: RowAdmin, form: Any, *, title: str, submit: str, row: Any = None, note: str = ""
) -> TemplateResponse:
    """Show `form` as a page of the model that `owner` administers; `row` is the object it is about, if any."""
    names = [name for name, field in form.fields.items() if not field.widget.is_hidden]
    shown = helpers.AdminForm(form, [(None, {"fields": names})], {}, model_admin=owner)
    context = {
        **owner.admin_site.each_context(request),
        "title": title,
        "opts": owner.opts,
        "original": row,
        "adminform": shown,
        "submit": submit,
        "note": note,
        "media": owner.media,
    }
    return TemplateResponse(request, "admin/form_page.html", context)
