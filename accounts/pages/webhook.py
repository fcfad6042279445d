"""Stripe's door: the raw body is verified and kept; what it means is found out later, by asking Stripe."""

from __future__ import annotations

from datetime import UTC, datetime

from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from accounts import crash_points
from accounts.payments import inbox, tasks
from accounts.payments.facts import NotFromStripe

_MAX_BODY_BYTES = 1_000_000


@csrf_exempt
@require_POST
def stripe(request: HttpRequest) -> HttpResponse:
    """200 once the event is kept, or was before; 400 for everything that is not Stripe's."""
    try:
        length = int(request.headers.get("content-length") or 0)
    except ValueError:
        length = -1
    if not 0 < length <= _MAX_BODY_BYTES:
        return HttpResponse("The body is empty or too large.", status=400, content_type="text/plain")
    try:
        is_new = inbox.take(request.body, request.headers.get("stripe-signature", ""), now=datetime.now(UTC))
    except NotFromStripe as refusal:
        return HttpResponse(str(refusal), status=400, content_type="text/plain")
    crash_points.reached("event.kept")
    if is_new:
        tasks.nudge()
    return HttpResponse("kept", content_type="text/plain")
