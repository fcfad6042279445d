"""Threads that every worker process has, and of which several do no more than one: what a crash left behind is mended,
and batches and payments go on."""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime

from django.db import DatabaseError, connection

from generation import batches, tasks
from generation.channels import checking
from nbp_site.money_rounds import MoneyRounds
from nbp_site.operating import gauges, probing, purging
from nbp_site.rounds import Rounds

logger = logging.getLogger(__name__)
_NUDGE_SECONDS = 0.5
_SWEEP_SECONDS = 2.0
_BATCHES_SECONDS = 1.0
_PAYMENTS_SECONDS = 1.0
_CHECKS_SECONDS = 15.0


class Sweeper:
    """Due rows are nudged within a second; what a crash left behind is mended soon after its lease has ended."""

    def __init__(self) -> None:
        self._sweeps = Rounds("sweeper", _NUDGE_SECONDS, self._sweep)
        # Apart, since acceptance may wait for strangers' images.
        self._batches = Rounds("batches", _BATCHES_SECONDS, _advance_batches)
        # Apart as well: Stripe may take its time.
        self._payments = Rounds("payments", _PAYMENTS_SECONDS, MoneyRounds().step)
        # Apart as well: a provider may take its time.
        self._checks = Rounds("channel checks", _CHECKS_SECONDS, _check_channels)
        self._sweep_at = self._purge_at = 0.0

    def start(self) -> None:
        self._sweeps.start()
        self._batches.start()
        self._payments.start()
        self._checks.start()

    def stop(self) -> None:
        self._checks.stop()
        self._payments.stop()
        self._batches.stop()
        if self._sweeps.stop():
            self._say_goodbye()

    def _sweep(self) -> None:
        if time.monotonic() >= self._sweep_at:
            tasks.sweep()
            self._sweep_at = time.monotonic() + _SWEEP_SECONDS
        else:
            tasks.nudge_due()
        gauges.SWEPT_AT.set_to_current_time()
        probing.PROBE.step()
        if time.monotonic() >= self._purge_at:
            wait_seconds = purging.purge_some()
            self._purge_at = time.monotonic() + wait_seconds

    def _say_goodbye(self) -> None:
        try:
            probing.say_goodbye()
        except DatabaseError as error:
            logger.warning("this worker's row stays behind for a while: %s", error)
        finally:
            connection.close()


def _advance_batches() -> None:
    batches.advance(now=datetime.now(UTC))


def _check_channels() -> None:
    checking.check_due(now=datetime.now(UTC))


SWEEPER = Sweeper()
