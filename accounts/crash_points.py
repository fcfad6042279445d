"""Named places on the road where a test lets the process die. Outside tests they do nothing.

A crash point stands wherever a crash would leave different rows or files behind than at the point before it.
"""

from __future__ import annotations

from collections.abc import Callable

# Every crash point there is: its name, and what has just happened there.
NAMES = {
    "accept.saving": "rows and hold are written, their transaction is not committed",
    "accept.saved": "the request is committed, nobody was nudged",
    "run.claimed": "the output is leased, no channel was called",
    "run.sent": "the attempt is committed, no byte has left",
    "call.answering": "the first bytes of an answer came",
    "keep.stored": "the image is in storage, no row says so",
    "keep.received": "the image is the output's, nothing is charged",
    "settle.settling": "image, charge and money are written, their transaction is not committed",
    "settle.settled": "the settlement is committed, nobody was told",
}

# The same for images that go upstream by the job.
JOB_NAMES = {
    "job.creating": "the intent is committed, no byte has left",
    "job.created": "the job exists upstream, no row has its name",
    "job.settling": "one result is settled, others are not",
}

# The same for work that goes on upstream and is looked in on.
HANDLE_NAMES = {
    "handle.given": "the upstream is at work and has said how to follow it, no row says so",
    "handle.kept": "the attempt says how to follow the work, nobody looked in on it",
}

# The same for money that comes in and goes back.
PAYMENT_NAMES = {
    "top_up.written": "the payment is committed, Stripe was not asked",
    "top_up.opened": "Stripe made the page, no row says so",
    "payment.settling": "state and money are written, their transaction is not committed",
    "payment.settled": "the payment is credited, nobody was told",
    "auto.written": "the recharge is committed, Stripe was not asked",
    "auto.paid": "Stripe charged the card, no row says so",
    "refund.written": "the wallet has lost the money, Stripe was not asked",
    "refund.sent": "Stripe sends the money, no row says so",
    "event.kept": "the event is committed, nobody follows it yet",
}

_hooks: list[Callable[[str], None]] = []


def reached(name: str) -> None:
    """The road has come to a crash point."""
    for hook in _hooks:
        hook(name)


def watch(hook: Callable[[str], None]) -> Callable[[], None]:
    """Call `hook(name)` at every crash point; the answer stops it. For tests."""
    _hooks.append(hook)
    return lambda: _hooks.remove(hook)
