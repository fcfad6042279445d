"""The wallet page: what there is, and every movement that led to it."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from accounts.authentication import Requester
from accounts.ledger.postings import delta
from generation import queries
from generation.contract import Refusal
from generation.pages.visitors import requester_page

_PAGE = 50
_WORDS = {
    "top_up": "Top-up",
    "grant": "Credit",
    "hold": "Held for an image",
    "capture": "Charged from the hold",
    "release": "Hold given back",
    "refund": "Refund",
    "refund_debt": "Refund",
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


def _line(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry with words, and what it did to the available and the held money."""
    change = delta(entry["kind"])
    return entry | {
        "words": _WORDS.get(entry["kind"], entry["kind"]),
        "available_change_micros": change.available * entry["amount_micros"],
        "held_change_micros": change.held * entry["amount_micros"],
    }


@require_safe
@never_cache
@requester_page
def wallet(request: HttpRequest, requester: Requester) -> HttpResponse:
    """GET /wallet/?cursor="""
    try:
        page = queries.statement(requester, limit=_PAGE, cursor=request.GET.get("cursor", ""))
    except Refusal as refusal:
        raise Http404 from refusal
    return render(
        request, "wallet.html", {"lines": [_line(each) for each in page.data], "next_cursor": page.next_cursor}
    )
