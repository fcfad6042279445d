"""The fake Stripe's pages inside this site. Never part of production's URLs."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_safe

from accounts.payments import connection
from accounts.payments.fake_stripe import FakeStripe, pages


def _fake() -> FakeStripe:
    stripe = connection.current()
    if stripe is None or stripe.fake is None:
        raise Http404
    return stripe.fake


def _response(page: pages.Page) -> HttpResponse:
    response = HttpResponse(page.html, status=page.status)
    if page.location:
        response["Location"] = page.location
    return response


# Stripe's page knows nothing of this site's forms and cookies, and neither does this one.
@csrf_exempt
@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
def checkout(request: HttpRequest, session_id: str) -> HttpResponse:
    """GET the page with its test cards, POST to pay."""
    if request.method == "POST":
        return _response(pages.pay(_fake(), session_id, request.POST.get("card", "")))
    return _response(pages.checkout(_fake(), session_id))


@require_safe
@never_cache
def portal(request: HttpRequest, session_id: str) -> HttpResponse:
    """Cards and invoices."""
    return _response(pages.portal(_fake(), session_id))


@require_safe
@never_cache
def receipt(request: HttpRequest, object_id: str) -> HttpResponse:
    """A receipt or an invoice."""
    return _response(pages.receipt(_fake(), object_id))


urlpatterns = [
    path("c/pay/<str:session_id>", checkout, name="fake-checkout"),
    path("r/<str:object_id>", receipt, name="fake-receipt"),
    path("p/session/<str:session_id>", portal, name="fake-portal"),
]
