"""Many requests under one name: handed in at a door, accepted one by one as there is room, read together.

Every item becomes an ordinary generation in the lane that runs last, under an idempotency key of its own: whatever
stops in between, none is bought twice.
"""

from generation.batches.creation import Fault, Line, Order, create
from generation.batches.feeding import advance
from generation.batches.forgetting import purge
from generation.batches.readings import (
    Item,
    Summary,
    cancel,
    delivered,
    find,
    forgotten_at,
    hide,
    items,
    left,
    listed,
)

__all__ = [
    "Fault",
    "Item",
    "Line",
    "Order",
    "Summary",
    "advance",
    "cancel",
    "create",
    "delivered",
    "find",
    "forgotten_at",
    "hide",
    "items",
    "left",
    "listed",
    "purge",
]
