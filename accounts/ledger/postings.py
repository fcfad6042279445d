"""The posting table: the only legal movements of money, as data. Pure Python.

Each kind moves an amount from one side to another. `available`, `held` and `debt` are columns of the wallet; the
other sides are the house's, names without a balance row, so that no two customers ever wait for one lock.
"""

from __future__ import annotations

from typing import NamedTuple


class Sides(NamedTuple):
    source: str
    destination: str


KINDS: dict[str, Sides] = {
    "top_up": Sides("stripe", "available"),
    "grant": Sides("promotion", "available"),
    "revoke": Sides("available", "promotion"),
    "hold": Sides("available", "held"),
    "capture": Sides("held", "revenue"),
    "release": Sides("held", "available"),
    "refund": Sides("available", "stripe"),
    "refund_debt": Sides("debt", "stripe"),
    "refund_failed": Sides("stripe", "available"),
    "dispute": Sides("available", "dispute"),
    "dispute_debt": Sides("debt", "dispute"),
    "reinstate": Sides("dispute", "available"),
    "repay": Sides("available", "debt"),
    "expire": Sides("available", "breakage"),
    "goodwill": Sides("revenue", "available"),
    "adjust_up": Sides("adjustment", "available"),
    "adjust_down": Sides("available", "adjustment"),
    "write_off": Sides("write_off", "debt"),
}
HOLD_KINDS = ("hold", "capture", "release")
# Money that comes in makes one lot; money that leaves uses lots up. Holds and releases touch none.
LOT_MAKERS = ("top_up", "grant", "refund_failed", "reinstate", "goodwill", "adjust_up")
LOT_USERS = ("capture", "revoke", "refund", "dispute", "repay", "expire", "adjust_down")


class Delta(NamedTuple):
    """What a posting adds to the three columns of a wallet, per micro-dollar."""

    available: int
    held: int
    debt: int


def delta(kind: str) -> Delta:
    """+1, 0 or -1 for each column. Debt is owed to us, so money leaving the debt side raises it."""
    sides = KINDS[kind]
    return Delta(
        available=(sides.destination == "available") - (sides.source == "available"),
        held=(sides.destination == "held") - (sides.source == "held"),
        debt=(sides.source == "debt") - (sides.destination == "debt"),
    )
