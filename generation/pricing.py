"""Quote, price and cost in integer micro-dollars. Pure Python: rates in, numbers out.

The quote is the most an image may cost; the price is what it does cost; the cost is what the provider bills us.
Everything is summed in exact integers and rounded up once per image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from generation.contract import Usage

_MILLION = 1_000_000
_BASIS = 10_000


@dataclass(frozen=True, slots=True)
class SaleRates:
    """A row of the price book."""

    image_micros: int
    reference_micros: int = 0
    input_micros_per_million_tokens: int = 0
    input_allowance_tokens: int = 0
    grounding_micros: int = 0
    markup_basis_points: int = 0


@dataclass(frozen=True, slots=True)
class CostRates:
    """What a provider bills."""

    input_micros_per_million_tokens: int = 0
    text_output_micros_per_million_tokens: int = 0
    image_output_micros_per_million_tokens: int = 0
    grounding_query_micros: int = 0
    image_tokens_by_size: Mapping[str, int] | None = None
    image_micros_by_size: Mapping[str, int] | None = None


def _ceil_divide(number: int, divisor: int) -> int:
    return -(-number // divisor)


def estimate_tokens(text: str) -> int:
    """An upper estimate of a text's tokens: three Latin characters a token, one token for any other character."""
    latin = sum(1 for character in text if character < "\u0250")
    return _ceil_divide(latin, 3) + len(text) - latin


def sale_price(rates: SaleRates, *, reference_count: int, input_text_tokens: int, is_grounded: bool) -> int:
    """(image + references + input above the allowance + grounding) x (1 + mark-up), thinking included."""
    extra_tokens = max(0, input_text_tokens - rates.input_allowance_tokens)
    base_millionths = (
        rates.image_micros + reference_count * rates.reference_micros + (rates.grounding_micros if is_grounded else 0)
    ) * _MILLION + extra_tokens * rates.input_micros_per_million_tokens
    return _ceil_divide(base_millionths * (_BASIS + rates.markup_basis_points), _MILLION * _BASIS)


def quote(rates: SaleRates, *, prompt: str, reference_count: int, is_grounded: bool) -> int:
    """The most one image may cost, known before any work."""
    return sale_price(
        rates, reference_count=reference_count, input_text_tokens=estimate_tokens(prompt), is_grounded=is_grounded
    )


def price(rates: SaleRates, *, reference_count: int, usage: Usage, quote_micros: int) -> int:
    """What one delivered image costs: by what was delivered and measured, never above the quote."""
    measured = sale_price(
        rates,
        reference_count=reference_count,
        input_text_tokens=usage.input_text_tokens,
        is_grounded=usage.search_queries > 0,
    )
    return min(measured, quote_micros)


def cost(rates: CostRates, *, usage: Usage, image_size: str, has_image: bool) -> int:
    """What the provider bills for an answered call: a flat price for the picture where it has one, else by tokens."""
    if rates.image_micros_by_size:
        return rates.image_micros_by_size.get(image_size, 0) if has_image else 0
    image_tokens = usage.output_image_tokens
    if has_image and not image_tokens and rates.image_tokens_by_size:
        image_tokens = rates.image_tokens_by_size.get(image_size, 0)
    millionths = (
        usage.input_tokens * rates.input_micros_per_million_tokens
        + (usage.output_text_tokens + usage.thinking_tokens) * rates.text_output_micros_per_million_tokens
        + image_tokens * rates.image_output_micros_per_million_tokens
    )
    return _ceil_divide(millionths, _MILLION) + usage.search_queries * rates.grounding_query_micros
