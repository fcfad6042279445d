"""Five thousand images on a channel of Google's Batch API in tier 1: they drain in waves below its limit of tokens."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection
from django.db.models import Count, Sum

from accounts.ledger.models import Hold, Wallet
from generation import execution, submission
from generation.contract import GenerationRequest
from generation.egress import loop
from generation.execution import choosing
from generation.models import IN_JOB, Attempt, Charge, Job, Output
from generation.preferences import Preferences
from tests.upstreams.gemini_batch import FakeGeminiBatch
from tests.upstreams.roads import road_to

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("audited"),
    pytest.mark.slow,
    pytest.mark.timeout(900),
]

COUNT, N, HALF, TIER_1 = 5_000, 10, 73_700, 2_000_000
THREADS, TOGETHER = 4, 100


@pytest.fixture
def provider(settings: Any) -> Iterator[FakeGeminiBatch]:
    settings.NBP_JOB_GATHER_SECONDS = settings.NBP_JOB_POLL_SECONDS = 0
    settings.NBP_CATALOGUE_SECONDS = 2.0
    with FakeGeminiBatch(looks_until_end=2) as found:
        found.enqueued_token_limit = TIER_1
        road_to(found.base_url, "jobs", kind="gemini_batch", secret="a-made-up-key", queued_tokens=TIER_1)
        yield found
    loop.stop()


def _each(work: Callable[[uuid.UUID], object], ids: Iterable[uuid.UUID]) -> None:
    """Workers do it for all of them, several at once."""
    waiting = iter(list(ids))

    def worker() -> None:
        try:
            # One step of a list's iterator is taken by one thread only.
            for each in waiting:
                work(each)
        finally:
            connection.close()

    with ThreadPoolExecutor(THREADS) as workers:
        for each in [workers.submit(worker) for _ in range(THREADS)]:
            each.result()


def _hand_in(person: Any, queue_cap: int) -> None:
    """As many at a time as may be queued; what is in a job takes no place there. Workers that come together take them."""
    request = GenerationRequest(prompt="a lighthouse", image_size="1K", n=N, preferences=Preferences(lane="batch"))
    for _ in range(COUNT // queue_cap):
        for _ in range(queue_cap // N):
            submission.accept(person.requester("live"), request, now=datetime.now(UTC))
        queued = list(Output.objects.filter(state="queued").values_list("pk", flat=True))
        for start in range(0, queue_cap, TOGETHER):
            choosing.take_each(queued[start : start + TOGETHER], now=datetime.now(UTC))


def test_five_thousand_images_drain_in_waves_below_the_limit(
    make_person: Callable[..., Any], queue: Any, provider: FakeGeminiBatch, settings: Any
) -> None:
    carol = make_person("carol", live_micros=COUNT * HALF)
    _hand_in(carol, settings.NBP_ACCOUNT_QUEUE_CAP)
    assert Output.objects.filter(IN_JOB).count() == COUNT
    assert Job.objects.aggregate(sum=Sum("token_estimate"))["sum"] > 2 * TIER_1
    waves: list[int] = []
    while due := execution.due_jobs():
        _each(lambda job_id: execution.advance_job(job_id, now=datetime.now(UTC)), due)
        waves.append(sum(job.state == "RUNNING" for job in provider.jobs.values()))
    largest = max(job.tokens for job in provider.jobs.values())
    # The room is used, and it was never left to the provider to refuse what is too much.
    assert TIER_1 - largest < provider.peak_tokens <= TIER_1, waves
    assert len(provider.requests) == len(provider.jobs) == Job.objects.filter(outcome="ended").count(), waves
    keys = [key for job in provider.jobs.values() for key, _ in job.lines]
    assert len(keys) == len(set(keys)) == COUNT
    assert set(Output.objects.values_list("state").annotate(Count("pk"))) == {("succeeded", COUNT)}
    assert set(Attempt.objects.values_list("status", "number").annotate(Count("pk"))) == {("ok", 1, COUNT)}
    assert set(Charge.objects.values_list("price_micros").annotate(Count("output", distinct=True))) == {(HALF, COUNT)}
    assert set(Hold.objects.values_list("state").annotate(Count("pk"))) == {("captured", COUNT)}
    wallet = Wallet.objects.get(account=carol.account, mode="live")
    assert (wallet.available_micros, wallet.held_micros) == (0, 0)
