"""What keeps the admin's lists quick however long their tables grow: counts with a bound, and periods."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin
from django.contrib.admin.views.main import SEARCH_VAR
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

if TYPE_CHECKING:
    RowPaginator = Paginator[Any]
else:
    RowPaginator = Paginator

COUNT_LIMIT = 10_000
ALL_TIME = "all"


class BoundedPaginator(RowPaginator):
    """Counts rows up to a bound: an exact count reads the whole table. Pages end there; filters lead further back."""

    @cached_property
    def _seen_count(self) -> int:
        rows: QuerySet[Any] = self.object_list  # type: ignore[assignment]
        return rows.order_by()[: COUNT_LIMIT + 1].count()

    @cached_property
    def count(self) -> int:
        return min(self._seen_count, COUNT_LIMIT)

    @property
    def words(self) -> str:
        """The count as the page states it."""
        return f"more than {COUNT_LIMIT:,}" if self._seen_count > COUNT_LIMIT else f"{self.count:,}"


def _month(moment: datetime) -> datetime:
    return datetime(moment.year, moment.month, 1, tzinfo=UTC)


class PeriodFilter(admin.SimpleListFilter):
    """Rows of a period, `?period=7d`, by the column at `path`; months are those of UTC.

    Without a choice `default` holds, except where the address itself bounds the column (`?created_at__gte=...`) or
    something is searched for: who looks for one row does not know when it was made.
    """

    title = "period"
    parameter_name = "period"
    path = "created_at"
    default = ALL_TIME
    names: ClassVar[dict[str, str]] = {
        "24h": "Last 24 hours",
        "7d": "Last 7 days",
        "30d": "Last 30 days",
        "month": "This month",
        "last_month": "Last month",
        ALL_TIME: "All time",
    }

    def __init__(self, request: HttpRequest, params: Any, model: Any, model_admin: Any) -> None:
        super().__init__(request, params, model, model_admin)
        is_dated = any(name.startswith(f"{self.path}__") for name in request.GET)
        implied = "" if is_dated else ALL_TIME if request.GET.get(SEARCH_VAR, "").strip() else self.default
        value = self.value()
        self.chosen = value if value in self.names else implied
        self.since, self.until = _bounds(self.chosen, timezone.now())

    @property
    def words(self) -> str:
        """The period as the page states it."""
        return self.names.get(self.chosen, "the dates in the address").lower()

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(self.names.items())

    def bound(self, rows: QuerySet[Any], path: str) -> QuerySet[Any]:
        """Rows whose moment at `path` is within the period."""
        if self.since is not None:
            rows = rows.filter(**{f"{path}__gte": self.since})
        if self.until is not None:
            rows = rows.filter(**{f"{path}__lt": self.until})
        return rows

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return self.bound(queryset, self.path)

    def choices(self, changelist: Any) -> Iterator[Any]:
        for value, name in self.names.items():
            query = changelist.get_query_string({self.parameter_name: value}, [f"{self.path}__"])
            yield {"selected": value == self.chosen, "query_string": query, "display": name}


def _bounds(period: str, now: datetime) -> tuple[datetime | None, datetime | None]:
    """The first moment of a period, and the first after it; None is none."""
    spans = {"24h": timedelta(hours=24), "7d": timedelta(days=7), "30d": timedelta(days=30)}
    if period in spans:
        return now - spans[period], None
    if period == "month":
        return _month(now), None
    if period == "last_month":
        return _month(_month(now) - timedelta(days=1)), _month(now)
    return None, None


def period_filter(path: str = "created_at", *, default: str = ALL_TIME) -> type[PeriodFilter]:
    """A PeriodFilter class for the column at `path`."""
    return type("PeriodFilter", (PeriodFilter,), {"path": path, "default": default})
