"""What the database says about the present, as gauges: one cheap query each, asked at most every few seconds."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator

from django.db import DatabaseError
from django.db.models import Count, Min, Q, Sum
from django.db.models.functions import Now
from prometheus_client import REGISTRY, CollectorRegistry, Gauge, disable_created_metrics, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from accounts.ledger.models import Hold
from accounts.payments import troubles
from generation.channels.models import Channel
from generation.egress import loop
from generation.models import LIVE_STATES, Output, State
from nbp_site.models import WorkerProbe

logger = logging.getLogger(__name__)
_FRESH_SECONDS = 5.0
_MODES = ("live", "test")

# A second series beside each counter that nobody reads.
disable_created_metrics()  # type: ignore[no-untyped-call]
SWEPT_AT = Gauge("nbp_sweeper_last_run_timestamp_seconds", "When this process's sweeper last finished a round.")
_IN_FLIGHT = Gauge("nbp_calls_in_flight", "Calls to providers that this process waits for.")
_IN_FLIGHT.set_function(loop.in_flight)


def _outputs() -> Iterator[GaugeMetricFamily]:
    """Unfinished outputs; those that ended are counters."""
    found = GaugeMetricFamily("nbp_outputs", "Unfinished outputs.", labels=("mode", "state"))
    rows = Output.objects.filter(state__in=LIVE_STATES).values_list("mode", "state").annotate(count=Count("pk"))
    counts = {(mode, state): count for mode, state, count in rows.order_by()}
    for mode in _MODES:
        for state in LIVE_STATES:
            found.add_metric((mode, str(state.value)), counts.get((mode, state), 0))
    yield found


def _queue() -> Iterator[GaugeMetricFamily]:
    """What is due and not begun."""
    depth = GaugeMetricFamily("nbp_queue_depth", "Outputs that are due and not begun.", labels=("mode",))
    age = GaugeMetricFamily("nbp_queue_oldest_seconds", "How long the oldest of them has been due.", labels=("mode",))
    due = Output.objects.filter(state=State.QUEUED, next_run_at__lte=Now()).values("mode")
    rows = due.annotate(count=Count("pk"), oldest=Min("next_run_at"), at=Now()).order_by()
    by_mode = {row["mode"]: row for row in rows}
    for mode in _MODES:
        row = by_mode.get(mode)
        depth.add_metric((mode,), row["count"] if row else 0)
        age.add_metric((mode,), (row["at"] - row["oldest"]).total_seconds() if row else 0)
    yield from (depth, age)


def _holds() -> Iterator[GaugeMetricFamily]:
    """Money set aside."""
    count = GaugeMetricFamily("nbp_open_holds", "Holds that are open.", labels=("mode",))
    total = GaugeMetricFamily("nbp_open_holds_micros", "Micro-dollars on hold.", labels=("mode",))
    rows = Hold.objects.filter(state="open").values_list("wallet__mode")
    by_mode = {mode: (n, micros) for mode, n, micros in rows.annotate(Count("pk"), Sum("authorized_micros")).order_by()}
    for mode in _MODES:
        n, micros = by_mode.get(mode, (0, 0))
        count.add_metric((mode,), n)
        total.add_metric((mode,), micros)
    yield from (count, total)


def _channels() -> Iterator[GaugeMetricFamily]:
    """Roads that are open."""
    labels = ("channel", "mode")
    found = GaugeMetricFamily(
        "nbp_channel_up", "1 for a channel that is enabled, without fault and not cooling down.", labels=labels
    )
    is_up = Q(is_enabled=True, disabled_reason="") & (Q(cool_until=None) | Q(cool_until__lt=Now()))
    balance = GaugeMetricFamily("nbp_channel_balance_micros", "What money a provider says is left.", labels=labels)
    rows = Channel.objects.annotate(up=is_up).values_list("name", "mode", "up", "balance_micros")
    for name, mode, up, balance_micros in rows:
        found.add_metric((name, mode), int(up))
        if balance_micros is not None:
            balance.add_metric((name, mode), balance_micros)
    yield from (found, balance)


def _workers() -> Iterator[GaugeMetricFamily]:
    """The worker processes, by host and process id."""
    labels = ("host", "pid")
    seen = GaugeMetricFamily(
        "nbp_worker_seen_age_seconds", "Since the worker's sweeper last wrote its row.", labels=labels
    )
    beat = GaugeMetricFamily("nbp_worker_probe_age_seconds", "Since a message last reached the worker.", labels=labels)
    stalled = GaugeMetricFamily("nbp_worker_stalled", "1 for a worker whose probes do not come back.", labels=labels)
    calls = GaugeMetricFamily("nbp_worker_calls_in_flight", "Calls the worker waits for.", labels=labels)
    for row in WorkerProbe.objects.annotate(at=Now()):
        names = (row.host, str(row.pid))
        seen.add_metric(names, (row.at - row.seen_at).total_seconds())
        beat.add_metric(names, (row.at - (row.beaten_at or row.started_at)).total_seconds())
        stalled.add_metric(names, int(row.is_stalled))
        calls.add_metric(names, row.calls_in_flight)
    yield from (seen, beat, stalled, calls)


def _payments() -> Iterator[GaugeMetricFamily]:
    """What about payments waits for a person."""
    found = GaugeMetricFamily("nbp_payment_troubles", "Payments and papers that wait for a person.", labels=("what",))
    for what, count in troubles.counts().items():
        found.add_metric((what,), count)
    yield found


_FAMILIES: tuple[Callable[[], Iterator[GaugeMetricFamily]], ...] = (
    _outputs,
    _queue,
    _holds,
    _payments,
    _channels,
    _workers,
)


class DatabaseGauges(Collector):
    """Asked by each scrape; answers from memory what it asked the database a moment ago."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: list[GaugeMetricFamily] = []
        self._at = float("-inf")

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Nothing at registration: there may be no database yet."""
        return ()

    def collect(self) -> Iterable[GaugeMetricFamily]:
        with self._lock:
            if time.monotonic() - self._at > _FRESH_SECONDS:
                self._known, self._at = _ask(), time.monotonic()
            return list(self._known)


def _ask() -> list[GaugeMetricFamily]:
    """Every family that the database answers, and whether it did."""
    reachable = GaugeMetricFamily("nbp_database_up", "1 if the database answered this scrape.")
    try:
        found = [each for family in _FAMILIES for each in family()]
    except DatabaseError as error:
        logger.warning("the database has no figures: %s", error)
        found = []
    reachable.add_metric((), int(bool(found)))
    return [*found, reachable]


# Of processes that serve the web only: each would tell the same.
DATABASE = CollectorRegistry()
DATABASE.register(DatabaseGauges())


def text(*, with_database: bool) -> bytes:
    """What this process has counted, and if wanted the database's figures, as Prometheus reads it."""
    return generate_latest(REGISTRY) + (generate_latest(DATABASE) if with_database else b"")
