"""Stripe's test cards, and how each behaves (https://docs.stripe.com/testing)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Card:
    """How paying with it ends on the Checkout page, and when its owner is away. `later` happens after a while."""

    label: str
    brand: str = "visa"
    kind: str = "card"
    decline: str = ""
    decline_away: str = ""
    later: str = ""


CARDS: dict[str, Card] = {
    "4242424242424242": Card("Works"),
    "5555555555554444": Card("Works, too", brand="mastercard"),
    "4000000000000002": Card("Declined", decline="generic_decline"),
    "4000000000009995": Card("Declined: too little money", decline="insufficient_funds"),
    "4000002500003155": Card("Works here, asks its owner when charged later", decline_away="authentication_required"),
    "4000000000000341": Card("Works here, declined when charged later", decline_away="generic_decline"),
    "4000000000000259": Card("Works, then is disputed", later="dispute"),
    "4000000000005126": Card("Works; a refund fails later", later="fail_refunds"),
    "4000000000007726": Card("Works; a refund takes a while", later="slow_refunds"),
    "alipay": Card("Alipay", kind="alipay"),
    "us_bank_account": Card("Bank debit: processed, then paid", kind="us_bank_account", later="paid"),
    "us_bank_account_fails": Card("Bank debit: processed, then fails", kind="us_bank_account", later="unpaid"),
}
#: How long a delayed method, a dispute and a slow or failing refund take.
LATER_SECONDS = 8.0


def is_delayed(number: str) -> bool:
    """Whether Checkout is complete before the money has come."""
    return CARDS[number].later in ("paid", "unpaid")
