"""Channels in the operator's admin: how each is doing, and its credentials, which go in and never come out."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils import timezone

from accounts.ledger.admin.columns import RowAdmin
from accounts.money import usd
from generation.channels import checking, health, probing, registry, seed
from generation.channels.forms import ChannelForm
from generation.channels.models import Channel
from generation.models import Attempt

_WINDOW = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class RecentWork:
    """A channel's last 24 hours: calls that ended, the share that brought an answer, and latencies in milliseconds."""

    count: int
    ok_count: int
    p50_ms: int | None
    p95_ms: int | None


def recent_work(channel: Channel, *, now: datetime) -> RecentWork:
    """Count the channel's calls. What the upstream calls a wrong request says nothing about the road, as in health."""
    ended = Attempt.objects.filter(channel=channel, started_at__gte=now - _WINDOW, finished_at__isnull=False)
    ended = ended.exclude(error_kind="rejected")
    answered = ended.filter(status=Attempt.Status.OK)
    ok_count = answered.count()
    latencies = answered.filter(latency_ms__isnull=False).order_by("latency_ms").values_list("latency_ms", flat=True)
    timed_count = latencies.count()

    def percentile(share: float) -> int | None:
        return latencies[min(timed_count - 1, int(timed_count * share))] if timed_count else None

    return RecentWork(ended.count(), ok_count, percentile(0.5), percentile(0.95))


def _work(row: Channel) -> RecentWork:
    """Counted once for a row of the page, however many columns show it."""
    if "recent_work" not in row.__dict__:
        row.__dict__["recent_work"] = recent_work(row, now=timezone.now())
    found: RecentWork = row.__dict__["recent_work"]
    return found


@admin.display(description="state")
def _state(row: Channel) -> str:
    return probing.condition(row, now=timezone.now()).words


@admin.display(description="answered, 24 h")
def _success_share(row: Channel) -> str:
    work = _work(row)
    return f"{100 * work.ok_count / work.count:.1f} % of {work.count}" if work.count else "no calls"


@admin.display(description="p50 / p95, 24 h")
def _latency(row: Channel) -> str:
    work = _work(row)
    if work.p50_ms is None or work.p95_ms is None:
        return "-"
    return f"{work.p50_ms / 1000:.1f} s / {work.p95_ms / 1000:.1f} s"


@admin.display(description="last error", ordering="last_error_at")
def _last_error(row: Channel) -> str:
    return f"{row.last_error_at:%Y-%m-%d %H:%M} {row.last_error}" if row.last_error_at else "-"


@admin.display(description="its provider says")
def _checked(row: Channel) -> str:
    return f"{row.check_words} ({row.checked_at:%Y-%m-%d %H:%M} UTC)" if row.checked_at else "not asked yet"


@admin.display(description="left", ordering="balance_micros")
def _balance(row: Channel) -> str:
    return "-" if row.balance_micros is None else usd(row.balance_micros)


@admin.display(description="credentials")
def _credentials(row: Channel) -> str:
    if row.is_from_environment:
        found = "set" if seed.environment_secret() else "not set in this process"
        return f"from the environment: {' or '.join(seed.SECRET_VARIABLES)} ({found})"
    if row.sealed_secret:
        return "a secret is kept"
    adapter = registry.ADAPTERS.get(row.kind)
    return "none" if adapter is None or adapter.needs_secret else "none needed"


@admin.register(Channel)
class ChannelAdmin(RowAdmin):
    """Roads to providers."""

    form = ChannelForm
    list_display = (
        "name",
        "mode",
        "kind",
        "priority",
        "is_enabled",
        _state,
        _success_share,
        _latency,
        _balance,
        _last_error,
    )
    ordering = ("mode", "priority", "name")
    actions = ("clear_fault", "test")
    fieldsets: ClassVar[Any] = (
        (None, {"fields": ("name", "kind", "mode", "priority", "weight", "is_enabled")}),
        ("Where and as whom", {"fields": ("base_url", _credentials, "secret", "options")}),
        ("Models", {"fields": ("only_models", "upstream_models", "call_micros")}),
        ("Limits", {"fields": ("requests_per_minute", "tokens_per_minute", "concurrency", "queued_tokens")}),
        (
            "How it is doing",
            {
                "fields": (
                    _state,
                    _checked,
                    _success_share,
                    _latency,
                    "failures_in_a_row",
                    "last_error",
                    "last_error_at",
                    "last_success_at",
                )
            },
        ),
    )
    _shown = (
        _credentials,
        _state,
        _checked,
        _success_share,
        _latency,
        "failures_in_a_row",
        "last_error",
        "last_error_at",
        "last_success_at",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Channel]:
        """Keys that accounts brought along are theirs, and the house's own roads have nothing to set."""
        return super().get_queryset(request).filter(account=None).exclude(kind__in=seed.HOUSE)

    def get_fieldsets(self, request: HttpRequest, obj: Channel | None = None) -> Any:
        first, where, models, limits, health_ = self.fieldsets
        if obj is None:
            return (first, (where[0], {"fields": ("base_url", "secret", "options")}), models, limits)
        if obj.is_from_environment or not self.has_change_permission(request, obj):
            where = (where[0], {"fields": ("base_url", _credentials, "options")})
        return (first, where, models, limits, health_)

    def get_readonly_fields(self, request: HttpRequest, obj: Channel | None = None) -> Any:
        # A road keeps its kind and mode: its past calls, costs and thought signatures belong to them.
        return (*self._shown, "kind", "mode") if obj else ()

    def save_model(self, request: HttpRequest, obj: Channel, form: Any, change: bool) -> None:
        secret = form.cleaned_data.get("secret", "")
        if secret:
            obj.set_secret(secret)
        if not change:
            obj.save()
            return
        # Only what the form changed: workers write the row's health meanwhile.
        names = [name for name in form.changed_data if name != "secret"]
        obj.save(update_fields=[*names, "sealed_secret"] if secret else names)
        if secret:
            health.clear(obj)

    @admin.action(description="Clear fault: the road is fine again", permissions=["change"])
    def clear_fault(self, request: HttpRequest, queryset: QuerySet[Channel]) -> None:
        for channel in queryset:
            health.clear(channel)
            self.log_change(request, channel, "fault cleared")
        self.message_user(request, f"Cleared: {', '.join(each.name for each in queryset)}.", messages.SUCCESS)

    @admin.action(description="Test this channel (one real image)", permissions=["change"])
    def test(self, request: HttpRequest, queryset: QuerySet[Channel]) -> None:
        for channel in queryset:
            self._test(request, channel)

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        own = [
            path("<uuid:channel_id>/check/", wrap(self.check_view), name="channels_channel_check"),
            path("<uuid:channel_id>/test/", wrap(self.test_view), name="channels_channel_test"),
        ]
        return [*own, *super().get_urls()]

    def check_view(self, request: HttpRequest, channel_id: uuid.UUID) -> HttpResponse:
        """POST: ask the channel's provider what costs nothing."""
        return self._do(request, channel_id, self._check)

    def test_view(self, request: HttpRequest, channel_id: uuid.UUID) -> HttpResponse:
        """POST: have the channel make one image."""
        return self._do(request, channel_id, self._test)

    def _do(
        self, request: HttpRequest, channel_id: uuid.UUID, work: Callable[[HttpRequest, Channel], None]
    ) -> HttpResponse:
        channel = get_object_or_404(self.get_queryset(request), pk=channel_id)
        if not self.has_change_permission(request, channel):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        work(request, channel)
        return HttpResponseRedirect(reverse("admin:channels_channel_change", args=[channel.pk]))

    def _check(self, request: HttpRequest, channel: Channel) -> None:
        words = checking.check(channel, now=timezone.now()) if registry.is_ready(channel) else "it has no credentials"
        self.message_user(request, f"Channel {channel.name}: {words}.")

    def _test(self, request: HttpRequest, channel: Channel) -> None:
        found = probing.probe(channel)
        level = messages.SUCCESS if found.is_ok else messages.ERROR
        words = "works" if found.is_ok else "does not work"
        self.message_user(
            request, f"Channel {channel.name} {words}: {found.detail} ({found.seconds:.1f} seconds)", level
        )
