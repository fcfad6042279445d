"""What a worker does about money beside images: payments every second, what has time less often."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

from accounts.ledger import expiry
from accounts.notices import watching
from accounts.payments import inbox, nightly
from accounts.payments import rounds as payments
from accounts.promotions import signup_credit

_SELDOM_SECONDS = 20.0


class MoneyRounds:
    """One step at a time, from a thread of the worker's."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seldom_at = 0.0

    def step(self) -> None:
        now = datetime.now(UTC)
        payments.advance(now=now)
        if self._clock() < self._seldom_at:
            return
        self._seldom_at = self._clock() + _SELDOM_SECONDS
        expiry.expire_due(now=now)
        signup_credit.advance(now=now)
        watching.watch(now=now)
        inbox.forget(now=now)
        nightly.run_if_due(now=now)
