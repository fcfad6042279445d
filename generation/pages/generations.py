"""The page of one generation: how far it is, the images, their words and receipts; and the images page."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from accounts.authentication import Requester
from generation import queries, submission
from generation.contract import Outcome, Refusal
from generation.pages import cards
from generation.pages.visitors import requester_page

_PAGE = 24
# Google's search suggestions are a stranger's HTML: no scripts, no way into this site, links open elsewhere.
_SUGGESTIONS_POLICY = (
    "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; style-src 'unsafe-inline'; "
    "img-src data: https:; frame-ancestors 'self'"
)


def _outcome(requester: Requester, generation_id: str) -> Outcome:
    try:
        return queries.outcome(queries.find(requester, generation_id))
    except Refusal as refusal:
        raise Http404 from refusal


def _context(requester: Requester, outcome: Outcome) -> dict[str, Any]:
    ended = outcome.finished_at or datetime.now(UTC)
    return {
        "outcome": outcome,
        "cards": cards.cards(requester, outcome),
        "digest": cards.digest(outcome),
        "words": cards.progress_words(outcome),
        "seconds": (ended - outcome.created_at).total_seconds(),
        "can_cancel": any(each.status == "queued" for each in outcome.outputs),
    }


@require_safe
@never_cache
@requester_page
def generation(request: HttpRequest, requester: Requester, generation_id: str) -> HttpResponse:
    """GET /generations/<id>/"""
    try:
        row_id = queries.find(requester, generation_id)
    except Refusal as refusal:
        return _maybe_in_other_mode(request, requester, generation_id, refusal)
    return render(request, "generations/page.html", _context(requester, queries.outcome(row_id)))


def _maybe_in_other_mode(
    request: HttpRequest, requester: Requester, generation_id: str, refusal: Refusal
) -> HttpResponse:
    other = dataclasses.replace(requester, mode="live" if requester.mode == "test" else "test")
    try:
        queries.find(other, generation_id)
    except Refusal:
        raise Http404 from refusal
    return render(request, "generations/other_mode.html", {"other_mode": other.mode}, status=404)


@require_safe
@never_cache
@requester_page
def progress(request: HttpRequest, requester: Requester, generation_id: str) -> HttpResponse:
    """The page's middle part, or 204 while it would look the same as `seen`."""
    context = _context(requester, _outcome(requester, generation_id))
    if request.GET.get("seen") == context["digest"]:
        return HttpResponse(status=204)
    return render(request, "generations/progress_answer.html", context)


@require_POST
@requester_page
def cancel(request: HttpRequest, requester: Requester, generation_id: str) -> HttpResponse:
    """POST /generations/<id>/cancel/: what has not been sent is canceled and costs nothing."""
    try:
        submission.cancel(requester, generation_id, now=datetime.now(UTC))
    except Refusal as refusal:
        raise Http404 from refusal
    if _outcome(requester, generation_id).status != "canceled":
        messages.warning(request, "Too late to cancel all of it: what was sent already finishes.")
    return redirect("generation", generation_id)


@require_safe
@never_cache
@requester_page
def suggestions(request: HttpRequest, requester: Requester, generation_id: str, output_id: str) -> HttpResponse:
    """The search suggestions Google obliges us to show, under a policy of their own, for a frame."""
    outcome = _outcome(requester, generation_id)
    found = next((each.search_suggestions for each in outcome.outputs if each.id == output_id), None)
    if not found:
        raise Http404
    response = render(request, "generations/suggestions.html", {"suggestions": found})
    response["Content-Security-Policy"] = _SUGGESTIONS_POLICY
    response["X-Frame-Options"] = "SAMEORIGIN"
    return response


@require_safe
@never_cache
@requester_page
def images(request: HttpRequest, requester: Requester) -> HttpResponse:
    """GET /images/?cursor="""
    try:
        page = queries.outcomes(requester, limit=_PAGE, cursor=request.GET.get("cursor", ""))
    except Refusal as refusal:
        raise Http404 from refusal
    tiles = [_tile(each) for each in page.data]
    return render(request, "images.html", {"tiles": tiles, "next_cursor": page.next_cursor})


def _tile(outcome: Outcome) -> dict[str, Any]:
    first = next((each for each in outcome.outputs if each.mime_type), None)
    return {
        "outcome": outcome,
        "first": first,
        "link": cards.image_path(first.id) if first else "",
        "alt": cards.alt_text(outcome.prompt),
    }


@require_safe
@requester_page
def output(request: HttpRequest, requester: Requester, output_id: str) -> HttpResponse:
    """GET /images/<output id>/ leads to the output's place on its generation's page."""
    generation_id = queries.generation_of(requester, output_id)
    if generation_id is None:
        raise Http404
    response = redirect("generation", generation_id)
    response["Location"] += f"#{output_id}"
    return response
