"""The wallet page: what there is, and every movement that led to it; also as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from accounts.authentication import Requester
from accounts.ledger.postings import delta
from accounts.money import plain_usd
from generation import queries
from generation.contract import Refusal
from generation.pages.visitors import requester_page

_PAGE = 50
#: A file of more lines opens in no spreadsheet; a period makes it smaller.
_CSV_LINES = 50_000
_WORDS = {
    "top_up": "Top-up",
    "grant": "Credit",
    "revoke": "Bonus taken back",
    "hold": "Held for an image",
    "capture": "Charged from the hold",
    "release": "Hold given back",
    "refund": "Refund",
    "refund_debt": "Refund",
    "refund_failed": "Refund failed",
    "dispute": "Disputed payment",
    "dispute_debt": "Disputed payment",
    "reinstate": "Dispute won",
    "repay": "Debt repaid",
    "expire": "Credit expired",
    "goodwill": "Goodwill credit",
    "adjust_up": "Correction",
    "adjust_down": "Correction",
    "write_off": "Debt written off",
}
_GROUPS: dict[str, Sequence[str]] = {
    "paid": ("top_up", "refund", "refund_debt", "refund_failed", "dispute", "dispute_debt", "reinstate", "repay"),
    "images": ("hold", "capture", "release"),
    "charges": ("capture",),
    "credit": ("grant", "revoke", "expire", "goodwill", "adjust_up", "adjust_down", "write_off"),
}
_COLUMNS = (
    *("id", "when_utc", "kind", "what", "available_change_usd", "held_change_usd", "debt_change_usd"),
    *("available_after_usd", "held_after_usd", "debt_after_usd", "image", "payment", "receipt", "note"),
)


class StatementForm(forms.Form):
    """Which entries to show."""

    show = forms.ChoiceField(
        required=False,
        choices=[
            ("", "Everything"),
            ("paid", "Payments"),
            ("charges", "Charges"),
            ("images", "Images, with their holds"),
            ("credit", "Credit and corrections"),
        ],
    )
    since = forms.DateField(label="From", required=False, widget=forms.DateInput({"type": "date"}, "%Y-%m-%d"))
    until = forms.DateField(label="To", required=False, widget=forms.DateInput({"type": "date"}, "%Y-%m-%d"))

    def wanted(self) -> dict[str, Any]:
        """What the form asks for, as arguments of `queries.statement`; nonsense asks for everything."""
        data = self.cleaned_data if self.is_valid() else {}
        return {
            "kinds": _GROUPS.get(data.get("show", ""), ()),
            "since": data.get("since"),
            "until": data.get("until"),
        }

    def query(self) -> str:
        """The filters for a link."""
        return urlencode({name: self.data[name] for name in ("show", "since", "until") if self.data.get(name)})


def _line(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry with words, and what it did to the available and the held money and to the debt."""
    change = delta(entry["kind"])
    return entry | {
        "words": _WORDS.get(entry["kind"], entry["kind"]),
        "available_change_micros": change.available * entry["amount_micros"],
        "held_change_micros": change.held * entry["amount_micros"],
        "debt_change_micros": change.debt * entry["amount_micros"],
    }


@require_safe
@never_cache
@requester_page
def wallet(request: HttpRequest, requester: Requester) -> HttpResponse:
    """GET /wallet/?show=&since=&until=&cursor="""
    form = StatementForm(request.GET)
    wanted = form.wanted()
    try:
        page = queries.statement(requester, limit=_PAGE, cursor=request.GET.get("cursor", ""), **wanted)
    except Refusal as refusal:
        raise Http404 from refusal
    context = {
        "lines": [_line(each) for each in page.data],
        "next_cursor": page.next_cursor,
        "form": form,
        "query": form.query(),
    }
    return render(request, "wallet.html", context)


@require_safe
@never_cache
@requester_page
def statement_csv(request: HttpRequest, requester: Requester) -> HttpResponse:
    """GET /wallet/statement.csv?show=&since=&until=, newest first."""
    page = queries.statement(requester, limit=_CSV_LINES, **StatementForm(request.GET).wanted())
    response = HttpResponse(_csv(_line(each) for each in page.data), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="statement-{requester.mode}.csv"'
    return response


def _csv(lines: Iterable[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(_COLUMNS)
    writer.writerows(_row(line) for line in lines)
    return text.getvalue()


def _row(line: dict[str, Any]) -> list[str]:
    changes = [line[f"{name}_change_micros"] for name in ("available", "held", "debt")]
    after = [line[f"{name}_after_micros"] for name in ("available", "held", "debt")]
    return [
        line["id"],
        f"{line['created_at']:%Y-%m-%d %H:%M:%S}",
        line["kind"],
        line["words"],
        *map(plain_usd, (*changes, *after)),
        line["output"] or "",
        line["payment"] or "",
        line["receipt_url"],
        _as_text(line["reason"]),
    ]


def _as_text(words: str) -> str:
    """Words that somebody chose are words to a spreadsheet, too, and no formula."""
    return f"'{words}" if words[:1] in ("=", "+", "-", "@", "\t", "\r") else words
