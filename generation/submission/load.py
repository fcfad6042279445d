"""Back-pressure: how much of each account and key is unfinished, and what of it may run. Count with wallets locked.

The caps are those that were read with the request's key or session.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Sequence

from django.conf import settings
from django.db.models import Count

from accounts.compiled import CompiledSelect
from accounts.models import ApiKey
from generation.contract import Refusal
from generation.models import IN_JOB, LIVE_STATES, Generation, Output

_unfinished = CompiledSelect(
    lambda accounts: (
        Output.objects.exclude(IN_JOB)
        .filter(account_id__in=accounts, state__in=LIVE_STATES)
        .order_by()
        .values_list("account_id", "api_key_id")
        .annotate(Count("id"))
    )
)


def _in_jobs(accounts: Sequence[uuid.UUID]) -> Counter[uuid.UUID]:
    rows = Output.objects.filter(IN_JOB, account_id__in=accounts).order_by().values_list("account_id")
    return Counter(dict(rows.annotate(Count("id"))))


class Load:
    """The unfinished outputs of the accounts of some requests, with those that were added since."""

    def __init__(self, generations: Sequence[Generation]) -> None:
        accounts = list({each.account_id for each in generations})
        self._by_account: Counter[uuid.UUID] = Counter()
        self._by_key: Counter[uuid.UUID | None] = Counter()
        for account_id, key_id, count in _unfinished(accounts):
            self._by_account[account_id] += count
            self._by_key[key_id] += count
        # Few requests wait for a job, and only they are kept from making its queue longer.
        patient = list({each.account_id for each in generations if each.lane == "batch"})
        self._by_job = _in_jobs(patient) if patient else Counter()

    def check(self, generation: Generation, api_key: ApiKey | None) -> None:
        """Raise a Refusal where a request would make a queue longer than its caps."""
        cap = generation.account.queue_cap
        cap = settings.NBP_ACCOUNT_QUEUE_CAP if cap is None else cap
        if self._by_account[generation.account_id] + generation.n > cap:
            message = f"More than {cap} images of this account are unfinished."
            raise Refusal("rate_limit", "too_many_unfinished", message, retry_after_seconds=10)
        if generation.lane == "batch":
            self._check_jobs(generation)
        concurrency = api_key.concurrency if api_key else None
        if concurrency is not None and self._by_key[generation.api_key_id] + generation.n > concurrency:
            message = f"This API key may have {concurrency} unfinished images at once."
            raise Refusal("rate_limit", "concurrency_limit", message, retry_after_seconds=5)

    def _check_jobs(self, generation: Generation) -> None:
        cap, waiting = settings.NBP_ACCOUNT_JOB_CAP, self._by_job[generation.account_id]
        if waiting + self._by_account[generation.account_id] + generation.n > cap:
            message = f"More than {cap} images of this account wait in jobs."
            raise Refusal("rate_limit", "too_many_unfinished", message, retry_after_seconds=60)

    def add(self, generation: Generation) -> None:
        self._by_account[generation.account_id] += generation.n
        self._by_key[generation.api_key_id] += generation.n

    def may_run(self, generation: Generation) -> bool:
        """Whether everything unfinished of the account may run at once; test work shares a cap with all others."""
        cap = generation.account.running_cap
        cap = settings.NBP_ACCOUNT_RUNNING_CAP if cap is None else cap
        return generation.mode == "live" and self._by_account[generation.account_id] <= cap
