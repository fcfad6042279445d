"""What requests would cost on other terms: list cost, cost and price of each, without making anything.

A forecast knows price books, lanes and kinds of channels; it asks no provider and reads no channel's health.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from generation import pricing
from generation.contract import SIZES, Refusal, Usage, invalid
from generation.preferences import LANE_SECONDS, LANES
from generation.pricing import CostRates, SaleRates

# Channels that lead to the companies that run the models, by what they are best for.
OFFICIAL = ("gemini", "vertex", "gemini_batch", "bfl")
# The road whose standard prices are taken for the list's.
_LIST_KINDS = ("gemini", "bfl", "vertex")
CACHE = "cache"
_TOKENS_PER_REFERENCE = 560


@dataclass(frozen=True, slots=True)
class Model:
    """What a forecast knows of an image model."""

    name: str
    family: str
    sizes: tuple[str, ...]
    default_size: str


@dataclass(frozen=True, slots=True)
class Book:
    """Models by name, sale rates by (model, size, lane), cost rates by (kind of channel, model, lane)."""

    models: Mapping[str, Model]
    sales: Mapping[tuple[str, str, str], SaleRates]
    costs: Mapping[tuple[str, str, str], CostRates]
    aliases: Mapping[str, str] = field(default_factory=dict)
    default_model: str = ""


@dataclass(frozen=True, slots=True)
class Terms:
    """Under what to forecast: a lane for all requests (empty: as each says), the kinds of channels in order of
    preference (`is_cheapest`: the cheapest of them), and how much a model thinks where nobody measured it."""

    lane: str = ""
    kinds: Sequence[str] = OFFICIAL
    is_cheapest: bool = True
    thinking_tokens: int = 225


@dataclass(frozen=True, slots=True)
class Line:
    """`count` like requests of one image each. `thinking_tokens` is None where nobody measured them."""

    model: str = ""
    image_size: str = ""
    prompt: str = field(default="", repr=False)
    reference_count: int = 0
    is_grounded: bool = False
    count: int = 1
    lane: str = ""
    deadline_seconds: int | None = None
    is_draft: bool = False
    is_repeat: bool = False
    thinking_tokens: int | None = None


@dataclass(slots=True)
class Sum:
    """Requests and their money in micros. The list cost is the standard price of the model that was asked for."""

    requests: int = 0
    list_cost_micros: int = 0
    cost_micros: int = 0
    price_micros: int = 0

    def add(self, other: Sum) -> None:
        self.requests += other.requests
        self.list_cost_micros += other.list_cost_micros
        self.cost_micros += other.cost_micros
        self.price_micros += other.price_micros


@dataclass(slots=True)
class Forecast:
    """All requests, and the same by lane and by the model that would make them."""

    total: Sum = field(default_factory=Sum)
    by_lane: dict[str, Sum] = field(default_factory=dict)
    by_model: dict[str, Sum] = field(default_factory=dict)

    def add(self, lane: str, model: str, found: Sum) -> None:
        self.total.add(found)
        self.by_lane.setdefault(lane, Sum()).add(found)
        self.by_model.setdefault(model, Sum()).add(found)

    def as_data(self) -> dict[str, object]:
        """Names and values, ready for JSON."""
        groups = {"by_lane": self.by_lane, "by_model": self.by_model}
        return asdict(self.total) | {
            "margin_micros": self.total.price_micros - self.total.cost_micros,
            **{name: {key: asdict(each) for key, each in sorted(sums.items())} for name, sums in groups.items()},
        }


def forecast(lines: Iterable[Line], book: Book, terms: Terms) -> Forecast:
    """What the requests would cost. Raises Refusal, with the number of the line, for what would not be accepted."""
    found = Forecast()
    for number, line in enumerate(lines, start=1):
        try:
            found.add(*_priced(line, book, terms))
        except Refusal as refusal:
            raise Refusal(
                refusal.kind, refusal.code, f"Line {number}: {refusal.message}", param=refusal.param
            ) from None
    return found


@dataclass(frozen=True, slots=True)
class _Offer:
    lane: str
    price_micros: int
    cost_micros: int


def _priced(line: Line, book: Book, terms: Terms) -> tuple[str, str, Sum]:
    asked = _model(line.model, book)
    size = _size(line, asked)
    list_cost = line.count * _list_cost(asked.name, size, book)
    if line.is_repeat:
        return CACHE, asked.name, Sum(line.count, list_cost, 0, 0)
    made = _draft(asked, size, book) if line.is_draft else asked
    offer = _offer(line, made, _nearest(size, made), book, terms)
    return (
        offer.lane,
        made.name,
        Sum(line.count, list_cost, line.count * offer.cost_micros, line.count * offer.price_micros),
    )


def _model(name: str, book: Book) -> Model:
    found = book.models.get(book.aliases.get(name, name) or book.default_model)
    if found is None:
        raise invalid("model", f"There is no image model {name[:60]!r}.", "model_not_found")
    return found


def _size(line: Line, model: Model) -> str:
    size = line.image_size or model.default_size
    if size not in model.sizes and not line.is_draft:
        raise invalid("image_size", f"{model.name} makes {', '.join(model.sizes)}.", "image_size_not_supported")
    return size


def _nearest(size: str, model: Model) -> str:
    below = [each for each in model.sizes if SIZES.index(each) <= SIZES.index(size)]
    return max(below, key=SIZES.index, default=model.sizes[0])


def _draft(asked: Model, size: str, book: Book) -> Model:
    family = [each for each in book.models.values() if each.family == asked.family] if asked.family else [asked]
    priced = [
        (book.sales[key].image_micros, each.name, each)
        for each in family
        if (key := (each.name, _nearest(size, each), "standard")) in book.sales
    ]
    return min(priced, key=lambda each: each[:2])[2] if priced else asked


def _list_cost(model: str, size: str, book: Book) -> int:
    """One image at its standard price, as the provider's own list has it: by the image alone."""
    for kind in _LIST_KINDS:
        rates = book.costs.get((kind, model, "standard"))
        if rates is not None:
            return pricing.cost(rates, usage=Usage(), image_size=size, has_image=True)
    return 0


def _offer(line: Line, model: Model, size: str, book: Book, terms: Terms) -> _Offer:
    wanted = terms.lane or line.lane or ("auto" if line.deadline_seconds else "standard")
    if wanted not in LANES:
        raise invalid("lane", f"A lane is one of {', '.join(LANES)}.")
    seconds = line.deadline_seconds or 0
    lanes = [wanted] if wanted != "auto" else [lane for lane, takes in LANE_SECONDS.items() if takes <= seconds]
    offers = [offer for lane in lanes for offer in _offers(line, model, size, lane, book, terms)]
    if not offers:
        raise invalid("lane", f"No channel makes {model.name} in {size} in the lane {wanted}.", "lane_not_available")
    return min(offers, key=lambda each: (each.price_micros, each.cost_micros))


def _offers(line: Line, model: Model, size: str, lane: str, book: Book, terms: Terms) -> Iterator[_Offer]:
    """The lane's offer, if it has a price and a road."""
    rates = book.sales.get((model.name, size, lane))
    costs = [
        _cost(line, book.costs[kind, model.name, lane], size, terms)
        for kind in terms.kinds
        if (kind, model.name, lane) in book.costs
    ]
    if rates is not None and costs:
        price = pricing.quote(
            rates, prompt=line.prompt, reference_count=line.reference_count, is_grounded=line.is_grounded
        )
        yield _Offer(lane, price, min(costs) if terms.is_cheapest else costs[0])


def _cost(line: Line, rates: CostRates, size: str, terms: Terms) -> int:
    thinking = terms.thinking_tokens if line.thinking_tokens is None else line.thinking_tokens
    usage = Usage(
        input_text_tokens=pricing.estimate_tokens(line.prompt),
        input_image_tokens=line.reference_count * _TOKENS_PER_REFERENCE,
        thinking_tokens=thinking,
        search_queries=int(line.is_grounded),
    )
    return pricing.cost(rates, usage=usage, image_size=size, has_image=True)
