"""Sums for the operator: price, cost and margin of charges, and of attempts that brought no image. It only reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.contrib.admin.utils import build_q_object_from_lookup_parameters, prepare_lookup_value
from django.db.models import Count, Min, Q, QuerySet, Sum
from django.utils import timezone

from accounts.identifiers import parse_public_id
from accounts.ledger.admin.amounts import dollars
from accounts.models import MODES
from generation.channels import probing
from generation.channels.models import Channel
from generation.models import LIVE_STATES, Attempt, Charge, Output
from generation.queries.money import CACHE_SUMS

# Where an attempt keeps what a charge can be filtered by.
_ATTEMPT_PATHS = {
    # A trigger sees to it that a channel serves outputs of its own mode only; there are few channels to look at.
    "mode": "channel__mode",
    "image_model": "output__generation__image_model",
    "channel": "channel",
    "account": "output__account",
    "api_key": "output__api_key",
    "created_at": "started_at",
}
CHARGE_SEARCH = {
    "out": "output_id",
    "gen": "output__generation_id",
    "acc": "account_id",
    "key": "api_key_id",
    "": "account__name__icontains",
}
ATTEMPT_SEARCH = {
    "out": "output_id",
    "gen": "output__generation_id",
    "acc": "output__account_id",
    "key": "output__api_key_id",
    "": "output__account__name__icontains",
}


# Charges are never changed: a trigger sees to it. Attempts are not, once their late answers have come.
_LAST_WORD_AFTER = timedelta(days=2)
_MAX_PAST = 100
_past: dict[tuple[str, str], Sums] = {}


@dataclass(frozen=True, slots=True)
class Sums:
    """Images delivered, and their money in micro-dollars."""

    image_count: int
    price_micros: int
    cost_micros: int
    lost_micros: int

    def __add__(self, other: Sums) -> Sums:
        return Sums(
            self.image_count + other.image_count,
            self.price_micros + other.price_micros,
            self.cost_micros + other.cost_micros,
            self.lost_micros + other.lost_micros,
        )

    @property
    def price(self) -> str:
        return dollars(self.price_micros)

    @property
    def cost(self) -> str:
        return dollars(self.cost_micros)

    @property
    def margin(self) -> str:
        return dollars(self.price_micros - self.cost_micros)

    @property
    def lost(self) -> str:
        return dollars(self.lost_micros)

    @property
    def rest(self) -> str:
        """The margin after paying for attempts that brought no image."""
        return dollars(self.price_micros - self.cost_micros - self.lost_micros)


def in_both_modes(charges: QuerySet[Charge]) -> QuerySet[Charge]:
    """The same charges. Modes are named so that the index of charges by mode and time serves."""
    return charges.filter(mode__in=[mode for mode, _ in MODES])


def sums(charges: QuerySet[Charge], attempts: QuerySet[Attempt]) -> Sums:
    """Add up charges, and the cost of those attempts that were not delivered."""
    # Not Count("pk"): an index that carries money does not carry ids, and would not be enough.
    found = charges.order_by().aggregate(count=Count("*"), price=Sum("price_micros"), cost=Sum("cost_micros"))
    lost = attempts.filter(is_delivered=False, cost_micros__gt=0).aggregate(cost=Sum("cost_micros"))
    return Sums(found["count"], found["price"] or 0, found["cost"] or 0, lost["cost"] or 0)


def attempts_like(filters: Mapping[str, Sequence[str]]) -> QuerySet[Attempt]:
    """The attempts within filters of the list of charges (lookups of Charge -> values, as in its address)."""
    found: dict[str, Iterable[object]] = {}
    for lookup, values in filters.items():
        name, _, rest = lookup.partition("__")
        if name not in _ATTEMPT_PATHS:
            continue
        path = f"{_ATTEMPT_PATHS[name]}__{rest}" if rest else _ATTEMPT_PATHS[name]
        is_account = lookup == "account"
        found[path] = [
            parse_public_id("acc", value) if is_account else prepare_lookup_value(lookup, value) for value in values
        ]
    return Attempt.objects.filter(build_q_object_from_lookup_parameters(found))


def sums_of_all_time(charges: QuerySet[Charge], attempts: QuerySet[Attempt]) -> Sums:
    """The same of a table that grows for years: what has its last word is added up once in this process."""
    before = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0) - _LAST_WORD_AFTER
    past, past_attempts = charges.filter(created_at__lt=before), attempts.filter(started_at__lt=before)
    key = (str(past.order_by().query), str(past_attempts.query))
    if key not in _past:
        if len(_past) >= _MAX_PAST:
            _past.clear()
        _past[key] = sums(past, past_attempts)
    return _past[key] + sums(charges.filter(created_at__gte=before), attempts.filter(started_at__gte=before))


@dataclass(frozen=True, slots=True)
class CacheSums:
    """Images of requests that asked for the cache, and what its hits saved, in micro-dollars."""

    hit_count: int
    miss_count: int
    saved_price_micros: int
    saved_cost_micros: int

    @property
    def words(self) -> str:
        """The share of hits, what customers were spared, and what providers would have billed."""
        asked = self.hit_count + self.miss_count
        if not asked:
            return "not asked for"
        share = f"{100 * self.hit_count / asked:.1f} % of {asked}"
        return f"{share}; saved {dollars(self.saved_price_micros)} of price, {dollars(self.saved_cost_micros)} of cost"


def cache_sums(charges: QuerySet[Charge]) -> CacheSums:
    """Add up what the cache did for these charges."""
    found = charges.order_by().exclude(cache="").aggregate(**CACHE_SUMS, cost=Sum("saved_cost_micros"))
    return CacheSums(found["hit_count"], found["miss_count"], found["saved_micros"] or 0, found["cost"] or 0)


@dataclass(frozen=True, slots=True)
class Period:
    """A row of the overview: live money, what the cache saved, and how many images test mode drew."""

    title: str
    live: Sums
    cache: CacheSums
    test_image_count: int


@dataclass(frozen=True, slots=True)
class Overview:
    """What the operator sees first."""

    periods: tuple[Period, ...]
    live_output_count: int
    oldest_seconds: int | None
    troubled: tuple[tuple[str, str, str], ...]


def overview(*, now: datetime) -> Overview:
    """Images and money lately, the queue, and (id, name, state) of channels that are not ready."""
    queue = Output.objects.filter(state__in=LIVE_STATES).aggregate(count=Count("pk"), oldest=Min("created_at"))
    return Overview(
        periods=(
            _period("Last 24 hours", now - timedelta(hours=24)),
            _period("Last 30 days", now - timedelta(days=30)),
        ),
        live_output_count=queue["count"],
        oldest_seconds=int((now - queue["oldest"]).total_seconds()) if queue["oldest"] else None,
        troubled=tuple(_troubled(now)),
    )


def _period(title: str, since: datetime) -> Period:
    charges = Charge.objects.filter(created_at__gte=since)
    # A live channel serves live outputs only, which spares a look at each attempt's output.
    attempts = Attempt.objects.filter(channel__mode="live", started_at__gte=since)
    live = charges.filter(mode="live")
    return Period(title, sums(live, attempts), cache_sums(live), charges.filter(mode="test").count())


def _troubled(now: datetime) -> list[tuple[str, str, str]]:
    states = [(row, probing.condition(row, now=now)) for row in Channel.objects.order_by("mode", "priority", "name")]
    found = [(str(row.pk), f"{row.name} ({row.mode})", state.words) for row, state in states if not state.is_ready]
    if not any(state.is_ready and row.mode == "live" for row, state in states):
        found.insert(0, ("", "Live requests get 503", "no live channel is ready: set GEMINI_API_KEY or add a channel"))
    return found


def found_by(term: str, paths: Mapping[str, str]) -> Q:
    """What a search means in a table: a public id of the prefixes in `paths`, else part of an account's name ("")."""
    prefix = term.partition("_")[0]
    row_id = parse_public_id(prefix, term) if prefix in paths else None
    return Q(**{paths[""]: term}) if row_id is None else Q(**{paths[prefix]: row_id})
