"""The playground: a form with its price beside it, and the way from it through the front door."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render, resolve_url
from django.views.decorators.cache import cache_control, never_cache
from django.views.decorators.http import require_http_methods, require_POST
from django_htmx.http import HttpResponseClientRedirect

from accounts import rate_limits
from accounts.authentication import Requester
from accounts.pages.visitors import is_suspended
from generation import queries, submission
from generation.contract import Outcome, ReferenceInput, Refusal
from generation.fingerprints import fingerprint
from generation.pages.forms import PlaygroundForm, references_of, roles_of
from generation.pages.visitors import requester_page
from generation.pages.workbench import workbench

SAMPLE_PROMPT = "A nano banana on a marble kitchen table, soft morning light, a steaming cup of coffee behind it"


@require_http_methods(["GET", "HEAD", "POST"])
@cache_control(private=True, max_age=0)
@requester_page
def playground(request: HttpRequest, requester: Requester) -> HttpResponse:
    """GET shows the form (?previous=out_... to edit, ?again=gen_... to repeat), POST sends it."""
    if request.method == "POST":
        return _submit(request, requester)
    form = PlaygroundForm(_first_values(request, requester))
    return _answer(request, requester, form)


def _first_values(request: HttpRequest, requester: Requester) -> dict[str, Any]:
    values: dict[str, Any] = {"n": 1, "key": str(uuid.uuid4())}
    if request.GET.get("previous"):
        return values | _to_edit(requester, request.GET["previous"])
    if request.GET.get("again"):
        return values | _to_repeat(requester, request.GET["again"])
    is_first_use = not queries.outcomes(requester, limit=1).data
    return values | {"prompt": SAMPLE_PROMPT if is_first_use else ""}


def _to_edit(requester: Requester, output_id: str) -> dict[str, Any]:
    try:
        generation = queries.media_of(requester, output_id).output.generation
    except Refusal as refusal:
        raise Http404 from refusal
    return {"previous": output_id, "model": generation.image_model_id, "image_size": generation.image_size}


def _to_repeat(requester: Requester, generation_id: str) -> dict[str, Any]:
    try:
        found: Outcome = queries.outcome(queries.find(requester, generation_id))
    except Refusal as refusal:
        raise Http404 from refusal
    names = ("prompt", "model", "aspect_ratio", "image_size", "n")
    return {name: getattr(found, name) for name in names}


def _answer(request: HttpRequest, requester: Requester, form: PlaygroundForm, *, status: int = 200) -> HttpResponse:
    """The page, or for a fragment's request its form alone."""
    is_fragment = bool(getattr(request, "htmx", False))
    # Chosen files survive in the browser only when the form around them is swapped; a new page starts without.
    roles = roles_of(request) if is_fragment else []
    context = workbench(requester, form, roles, now=datetime.now(UTC))
    name = "playground/workbench.html" if is_fragment else "playground/page.html"
    return render(request, name, context, status=status)


def _submit(request: HttpRequest, requester: Requester) -> HttpResponse:
    form = PlaygroundForm(request.POST)
    try:
        if not form.is_valid():
            return _answer(request, requester, form, status=422)
        _check_visitor(requester)
        generation_id = _accept(requester, form, references_of(request))
    except Refusal as refusal:
        form.refuse(refusal)
        return _answer(request, requester, form, status=422)
    url = resolve_url("generation", generation_id)
    return HttpResponseClientRedirect(url) if getattr(request, "htmx", False) else redirect(url)


def _check_visitor(requester: Requester) -> None:
    if is_suspended(requester.account):
        raise Refusal("forbidden", "account_suspended", "This account is suspended. Ask the operator of this service.")
    state = rate_limits.hit(requester.rate_limit_name, per_minute=requester.requests_per_minute)
    if not state.is_allowed:
        raise Refusal("rate_limit", "rate_limit_exceeded", f"More than {state.limit} requests a minute. Wait a moment.")


def _accept(requester: Requester, form: PlaygroundForm, references: list[ReferenceInput]) -> str:
    """A double click sends the same form twice and is one generation; a changed form under the same key is another."""
    request = form.to_request(references)
    key = f"site:{form.cleaned_data['key'] or uuid.uuid4()}:{fingerprint(request, request.model)[:24]}"
    accepted = submission.accept(requester, request, now=datetime.now(UTC), idempotency_key=key)
    return queries.outcome(accepted.generation_id).id


@require_POST
@never_cache
@requester_page
def options(request: HttpRequest, requester: Requester) -> HttpResponse:
    """The form again, with what another model can do."""
    return _answer(request, requester, PlaygroundForm(request.POST))


@require_POST
@never_cache
@requester_page
def quote(request: HttpRequest, requester: Requester) -> HttpResponse:
    """The price of the form as it stands, or 204 while it is the one already shown."""
    form = PlaygroundForm(request.POST)
    context = workbench(requester, form, roles_of(request), now=datetime.now(UTC))
    if context["quoted"].shown == request.POST.get("shown"):
        return HttpResponse(status=204)
    return render(request, "playground/quote.html", context)
