"""The native API's other reads: quotes, models with prices, wallet, ledger and usage."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from generation import queries, submission
from generation.contract import Refusal
from generation.dialects.native import answers, schemas, translate
from generation.dialects.native.base import ERRORS, LIMIT, NativeView, choice_of, limit_of
from generation.dialects.native.bodies import read_request


class QuoteView(NativeView):
    """The most a request would cost. Takes the same body as a create; nothing is fetched, held or written."""

    @extend_schema(
        operation_id="quotes_create",
        request=schemas.GenerationCreateSchema,
        responses={200: answers.QuoteSchema, **ERRORS},
    )
    def post(self, request: Request) -> Response:
        found = submission.quote(self.requester, read_request(request), now=datetime.now(UTC))
        return Response(
            {
                "model": found.model,
                "n": found.n,
                "aspect_ratio": found.aspect_ratio,
                "image_size": found.image_size,
                "per_image_micros": found.per_image_micros,
                "quote_micros": found.total_micros,
                "lane": found.lane,
                "lane_reason": found.lane_reason,
                "warnings": list(found.warnings),
            }
        )


class ModelsView(NativeView):
    """Image models with their abilities and prices."""

    @extend_schema(operation_id="models_list", responses={200: answers.ImageModelListSchema, **ERRORS})
    def get(self, request: Request) -> Response:
        _ = self.requester
        return Response(translate.render_list(queries.image_models(now=datetime.now(UTC))))


class WalletView(NativeView):
    """The wallet of the key's mode, and the key's budget."""

    scope = "billing"

    @extend_schema(operation_id="wallet_retrieve", responses={200: answers.WalletSchema, **ERRORS})
    def get(self, request: Request) -> Response:
        requester = self.requester
        return Response(queries.wallet(requester) | {"budget": queries.budget(requester, now=datetime.now(UTC))})


class LedgerView(NativeView):
    """The wallet's entries, newest first."""

    scope = "billing"

    @extend_schema(
        operation_id="ledger_list",
        parameters=[
            LIMIT,
            OpenApiParameter("cursor", str),
            OpenApiParameter("kind", str, enum=sorted(queries.ENTRY_KINDS)),
        ],
        responses={200: answers.EntryListSchema, **ERRORS},
    )
    def get(self, request: Request) -> Response:
        kind = choice_of(request, "kind", queries.ENTRY_KINDS)
        page = queries.statement(
            self.requester,
            limit=limit_of(request),
            cursor=request.query_params.get("cursor", ""),
            kinds=[kind] if kind else [],
        )
        return Response(translate.render_list(list(page.data), page.next_cursor))


class UsageView(NativeView):
    """Delivered images and what they cost, by day, model or key."""

    scope = "billing"

    @extend_schema(
        operation_id="usage_list",
        parameters=[
            OpenApiParameter("since", date),
            OpenApiParameter("until", date),
            OpenApiParameter("group_by", str, enum=["day", "model", "key"]),
        ],
        responses={200: answers.UsageListSchema, **ERRORS},
    )
    def get(self, request: Request) -> Response:
        requester, today = self.requester, datetime.now(UTC).date()
        group_by = request.query_params.get("group_by", "day")
        if group_by not in ("day", "model", "key"):
            raise Refusal("invalid", "invalid_request", "group_by is day, model or key.", param="group_by")
        since = _day(request, "since", today - timedelta(days=30))
        until = _day(request, "until", today)
        return Response(translate.render_list(queries.usage(requester, since=since, until=until, group_by=group_by)))


def _day(request: Request, name: str, default: date) -> date:
    text: Any = request.query_params.get(name)
    if text is None:
        return default
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise Refusal("invalid", "invalid_request", "A day looks like 2026-11-20.", param=name) from None
