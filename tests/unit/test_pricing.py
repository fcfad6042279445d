"""Quote, price and cost: sums of exact integers, rounded up once, and a margin that stays positive."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from generation import pricing
from generation.contract import Usage
from generation.pricing import CostRates, SaleRates

DATA = json.loads((Path(__file__).resolve().parents[2] / "generation/data/catalogue.json").read_text(encoding="utf-8"))
PRO = "gemini-3-pro-image"


def _sale(size: str) -> SaleRates:
    row = next(each for each in DATA["prices"] if each["image_model"] == PRO and each["image_size"] == size)
    return SaleRates(
        image_micros=row["image_micros"],
        reference_micros=row["reference_micros"],
        input_micros_per_million_tokens=row["input_micros_per_million_tokens"],
        input_allowance_tokens=2000,
        grounding_micros=row["grounding_micros"],
        markup_basis_points=1000,
    )


def _cost() -> CostRates:
    row = next(each for each in DATA["costs"] if each["image_model"] == PRO)
    names = ("input", "text_output", "image_output")
    rates = {f"{name}_micros_per_million_tokens": row[f"{name}_micros_per_million_tokens"] for name in names}
    return CostRates(
        **rates, grounding_query_micros=row["grounding_query_micros"], image_tokens_by_size=row["image_tokens_by_size"]
    )


def test_a_plain_2k_image_costs_the_published_price_and_ten_percent() -> None:
    assert pricing.quote(_sale("2K"), prompt="a nano banana", reference_count=0, is_grounded=False) == 147_400


@pytest.mark.parametrize("size", ["1K", "2K", "4K"])
@pytest.mark.parametrize("reference_count", [0, 1, 14])
@pytest.mark.parametrize("is_grounded", [False, True])
@pytest.mark.parametrize("prompt_tokens", [20, 2000, 9000])
def test_the_margin_is_positive_on_pro(size: str, reference_count: int, is_grounded: bool, prompt_tokens: int) -> None:
    image_tokens = {"1K": 1120, "2K": 1120, "4K": 2000}[size]
    usage = Usage(
        input_text_tokens=prompt_tokens,
        input_image_tokens=560 * reference_count,
        output_image_tokens=image_tokens,
        thinking_tokens=350,
        search_queries=int(is_grounded),
    )
    quote = pricing.quote(
        _sale(size), prompt="x" * prompt_tokens * 3, reference_count=reference_count, is_grounded=is_grounded
    )
    price = pricing.price(_sale(size), reference_count=reference_count, usage=usage, quote_micros=quote)
    cost = pricing.cost(_cost(), usage=usage, image_size=size, has_image=True)
    assert price <= quote
    assert price > cost


def test_a_mark_up_of_nothing_would_lose_money() -> None:
    """The guard above bites: thinking is not in the published price of an image."""
    bare = SaleRates(image_micros=134_000)
    usage = Usage(output_image_tokens=1120, thinking_tokens=350)
    assert pricing.price(bare, reference_count=0, usage=usage, quote_micros=134_000) < pricing.cost(
        _cost(), usage=usage, image_size="2K", has_image=True
    )


rates = st.builds(
    SaleRates,
    image_micros=st.integers(0, 10**9),
    reference_micros=st.integers(0, 10**6),
    input_micros_per_million_tokens=st.integers(0, 10**8),
    input_allowance_tokens=st.integers(0, 5000),
    grounding_micros=st.integers(0, 10**6),
    markup_basis_points=st.integers(0, 20_000),
)


@given(
    rates=rates,
    count=st.integers(0, 14),
    tokens=st.integers(0, 70_000),
    prompt=st.text(max_size=400),
    is_grounded=st.booleans(),
    queries=st.integers(0, 5),
)
def test_the_price_is_a_whole_number_within_the_quote(
    rates: SaleRates, count: int, tokens: int, prompt: str, is_grounded: bool, queries: int
) -> None:
    quote = pricing.quote(rates, prompt=prompt, reference_count=count, is_grounded=is_grounded)
    usage = Usage(input_text_tokens=tokens, search_queries=queries)
    price = pricing.price(rates, reference_count=count, usage=usage, quote_micros=quote)
    assert isinstance(price, int)
    assert 0 <= price <= quote


@given(rates=rates)
def test_it_is_rounded_up_once(rates: SaleRates) -> None:
    exact = rates.image_micros * (10_000 + rates.markup_basis_points)
    price = pricing.sale_price(rates, reference_count=0, input_text_tokens=0, is_grounded=False)
    assert price * 10_000 >= exact > (price - 1) * 10_000 or exact == 0


@pytest.mark.parametrize(
    ("text", "least"),
    [("a" * 300, 100), ("一只香蕉" * 100, 400), ("", 0), ("🍌" * 10, 10)],
    ids=["latin", "han", "empty", "emoji"],
)
def test_tokens_are_estimated_from_above(text: str, least: int) -> None:
    assert pricing.estimate_tokens(text) >= least


def test_an_answer_without_details_costs_by_size() -> None:
    assert pricing.cost(_cost(), usage=Usage(), image_size="4K", has_image=True) == 240_000
    assert pricing.cost(_cost(), usage=Usage(), image_size="4K", has_image=False) == 0
