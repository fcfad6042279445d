"""Jobs: images that go upstream together are charged one by one, once each, whoever dies in between."""

from __future__ import annotations

import hashlib
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db.models import QuerySet

from accounts import crash_points
from accounts.group_commit import GroupCommit
from accounts.ledger.models import Hold, Wallet
from generation import execution, settlement, submission, tasks
from generation.channels import registry
from generation.channels.adapter import Credentials, JobItem, JobState, JobStatus
from generation.channels.drawing import draw
from generation.channels.models import Channel
from generation.contract import Answer, ChannelError, GenerationRequest, Refusal, SpooledImage, Usage
from generation.execution import receiving
from generation.models import Attempt, Charge, Generation, Job, Media, Output, State
from generation.preferences import Preferences, Routing
from tests.upstreams.openai_service import FakeChat
from tests.upstreams.roads import road_to

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("audited")]

HALF, STANDARD = 73_700, 147_400
KIND = "test_jobs"
_PICTURE = draw("a lighthouse", 1024, 1024)


class Died(BaseException):
    """The process is gone."""


@dataclass
class UpstreamJob:
    name: str
    display_name: str
    keys: list[str]
    tokens: int
    state: JobState = "running"


@dataclass
class Provider:
    """A provider of jobs. What happens to a key, or to the requests, is scripted."""

    kind: str = KIND
    needs_secret: bool = True
    abilities: frozenset[str] = frozenset({"history", "seed"})
    lanes: frozenset[str] = frozenset({"batch"})
    options: dict[str, Any] = field(default_factory=dict)
    jobs: dict[str, UpstreamJob] = field(default_factory=dict)
    canceled: list[str] = field(default_factory=list)
    peak_tokens: int = 0
    is_lost: bool = False
    refuses: list[ChannelError] = field(default_factory=list)
    results_of: dict[int, Any] = field(default_factory=dict)
    strangers: list[str] = field(default_factory=list)
    is_shuffled: bool = True

    def load(self) -> None: ...

    async def generate(self, call: Any, credentials: Credentials) -> Answer:
        raise AssertionError("this road takes jobs only")

    async def create(
        self, display_name: str, upstream_model: str, items: Sequence[JobItem], credentials: Credentials
    ) -> str:
        assert credentials.secret == "a secret"
        assert all(item.call.lane == "batch" for item in items)
        if self.refuses:
            raise self.refuses.pop(0)
        name = f"batches/{len(self.jobs)}"
        self.jobs[name] = UpstreamJob(name, display_name, [item.key for item in items], 1120 * len(items))
        running = [job.tokens for job in self.jobs.values() if job.state == "running"]
        self.peak_tokens = max(self.peak_tokens, sum(running))
        if self.is_lost:
            raise ChannelError("unknown", "no answer came")
        return name

    async def find(self, display_name: str, credentials: Credentials) -> Sequence[str]:
        return [job.name for job in self.jobs.values() if job.display_name == display_name]

    async def look(self, name: str, credentials: Credentials) -> JobStatus:
        return JobStatus(name, self.jobs[name].state)

    async def results(
        self, name: str, credentials: Credentials, spool: Path
    ) -> AsyncIterator[tuple[str, Answer | ChannelError]]:
        spool.mkdir(parents=True, exist_ok=True)
        keys = [*self.jobs[name].keys, *self.strangers]
        for place, key in enumerate(reversed(keys) if self.is_shuffled else keys):
            found = self.results_of.get(place, "picture")
            if found in ("picture", "absurd"):
                path = spool / f"{uuid.uuid4()}.image"
                path.write_bytes(_PICTURE)
                digest = hashlib.sha256(_PICTURE).hexdigest()
                image = SpooledImage(path, "image/png", len(_PICTURE), digest)
                # No database takes such a number.
                cost_micros = 10**30 if found == "absurd" else None
                found = Answer(
                    "ok", "STOP", image=image, usage=Usage(output_image_tokens=1120), cost_micros=cost_micros
                )
            if found != "missing":
                yield key, found

    async def cancel(self, name: str, credentials: Credentials) -> None:
        self.canceled.append(name)
        self.jobs[name].state = "canceled"

    def end(self, state: JobState = "ended") -> None:
        for job in self.jobs.values():
            job.state = state if job.state == "running" else job.state


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Iterator[Provider]:
    found = Provider()
    monkeypatch.setitem(registry.ADAPTERS, KIND, found)
    monkeypatch.setitem(registry.BATCH_ADAPTERS, KIND, found)
    settings.NBP_JOB_GATHER_SECONDS = settings.NBP_JOB_POLL_SECONDS = 0
    channel = Channel(name="jobs", kind=KIND, mode="live", call_micros={"gemini-3-pro-image": 67_200})
    channel.set_secret("a secret")
    channel.save()
    yield found


def _ask(person: Any, n: int = 1, *, image_size: str = "1K", **preferences: Any) -> Generation:
    request = GenerationRequest(
        prompt="a lighthouse", image_size=image_size, n=n, preferences=Preferences(lane="batch", **preferences)
    )
    accepted = submission.accept(person.requester("live"), request, now=datetime.now(UTC))
    return Generation.objects.get(pk=accepted.generation_id)


def _go_on(queue: Any, rounds: int = 1) -> None:
    """The sweeper's rounds, and what they send."""
    for _ in range(rounds):
        queue.run()
        Job.objects.exclude(state="ended").update(look_at=datetime.now(UTC) - timedelta(seconds=1))
        for job_id in execution.due_jobs():
            execution.advance_job(job_id, now=datetime.now(UTC))
        Output.objects.filter(state="queued").update(nudged_at=None, next_run_at=datetime.now(UTC))
        tasks.sweep()
        queue.run()


def _settled(count: int, price: int = HALF) -> None:
    assert Output.objects.filter(state=State.SUCCEEDED).count() == count
    assert [each.price_micros for each in Charge.objects.all()] == [price] * count
    assert not Hold.objects.filter(state="open").exists()


def test_images_of_a_job_cost_half_and_are_charged_once_each(alice: Any, queue: Any, provider: Provider) -> None:
    _ask(alice, 5)
    _ask(alice, 2)
    _go_on(queue, 4)
    assert ([len(job.keys) for job in provider.jobs.values()], Job.objects.get().state) == ([7], "running")
    assert set(Output.objects.values_list("state", flat=True)) == {"sent"}
    provider.end()
    _go_on(queue, 2)
    _settled(7)
    assert {each.cost_micros for each in Charge.objects.all()} == {67_200}
    assert (Job.objects.get().state, Job.objects.get().outcome) == ("ended", "ended")
    assert Wallet.objects.get(account=alice.account, mode="live").available_micros == 10_000_000 - 7 * HALF


def test_no_more_tokens_wait_upstream_than_the_channel_allows(
    alice: Any, queue: Any, provider: Provider, settings: Any
) -> None:
    settings.NBP_JOB_MAX_ITEMS = 4
    settings.NBP_ACCOUNT_RUNNING_CAP = 100
    Channel.objects.filter(name="jobs").update(queued_tokens=10_000)
    for _ in range(3):
        _ask(alice, 10)
    for _ in range(40):
        _go_on(queue)
        provider.end()
    _settled(30)
    assert provider.peak_tokens <= 10_000
    assert len(provider.jobs) >= 8


def test_a_job_is_no_larger_than_its_results_may_be(
    make_person: Callable[..., Any], queue: Any, provider: Provider, settings: Any
) -> None:
    settings.NBP_ACCOUNT_QUEUE_CAP = settings.NBP_ACCOUNT_RUNNING_CAP = 1000
    carol = make_person("carol", live_micros=100_000_000)
    sizes = ["1K", "4K", "4K", "2K"] * 5
    for image_size in sizes:
        _ask(carol, 10, image_size=image_size)
    queue.run(limit=1000)
    jobs = [Counter(_sizes(job)) for job in Job.objects.order_by("pk")]
    weights = {"1K": 3, "2K": 8, "4K": 20}
    megabytes = [sum(weights[size] * count for size, count in job.items()) for job in jobs]
    assert sum(jobs, Counter()) == Counter(sizes * 10)
    assert max(megabytes) <= 2048
    # Each is full but the last.
    assert min(megabytes[:-1]) > 2048 - 20
    assert [job.item_count for job in Job.objects.order_by("pk")] == [job.total() for job in jobs]


def _sizes(job: Job) -> QuerySet[Attempt, str]:
    return Attempt.objects.filter(job=job).values_list("output__generation__image_size", flat=True)


@pytest.mark.parametrize("point", list(crash_points.JOB_NAMES))
def test_whoever_dies_in_the_middle_leaves_one_job_and_one_charge_each(
    alice: Any, queue: Any, provider: Provider, point: str
) -> None:
    _ask(alice, 6)
    # A job that exists is created once, and so that death comes once.
    deaths = [1 if point == "job.created" else 2]

    def die(name: str) -> None:
        if name == point and deaths[0]:
            deaths[0] -= 1
            raise Died

    stop = crash_points.watch(die)
    try:
        for _ in range(12):
            try:
                _go_on(queue)
            except Died:
                Job.objects.update(lease_until=None)
            Job.objects.filter(state="creating").update(sent_at=datetime.now(UTC) - timedelta(minutes=3))
            provider.end()
    finally:
        stop()
    assert deaths == [0]
    _settled(6)
    assert len(provider.jobs) == 1
    assert Attempt.objects.count() == 6


def test_what_is_canceled_before_its_job_leaves_is_free(alice: Any, queue: Any, provider: Provider) -> None:
    first, second = _ask(alice, 2), _ask(alice, 3)
    queue.run()
    submission.cancel(alice.requester("live"), first.public_id, now=datetime.now(UTC))
    _go_on(queue, 4)
    assert [len(job.keys) for job in provider.jobs.values()] == [3]
    submission.cancel(alice.requester("live"), second.public_id, now=datetime.now(UTC))
    provider.end()
    _go_on(queue, 2)
    assert sorted(Output.objects.values_list("state", flat=True)) == ["canceled"] * 2 + ["succeeded"] * 3
    _settled(3)


def test_what_waits_in_jobs_takes_no_place_of_what_is_asked_at_once(
    alice: Any, queue: Any, provider: Provider, settings: Any
) -> None:
    settings.NBP_ACCOUNT_RUNNING_CAP = settings.NBP_ACCOUNT_QUEUE_CAP = 4
    for _ in range(3):
        _ask(alice, 4)
        queue.run()
    assert Output.objects.filter(state="sent", lease_until=None).count() == 12
    provider.end()
    for _ in range(6):
        _go_on(queue)
        provider.end()
    _settled(12)


def test_what_waits_in_jobs_has_a_cap_of_its_own(alice: Any, queue: Any, provider: Provider, settings: Any) -> None:
    settings.NBP_ACCOUNT_JOB_CAP = 4
    _ask(alice, 3)
    queue.run()
    with pytest.raises(Refusal, match="More than 4 images of this account wait in jobs") as refusal:
        _ask(alice, 2)
    assert (refusal.value.kind, refusal.value.code) == ("rate_limit", "too_many_unfinished")
    _ask(alice)
    for _ in range(6):
        _go_on(queue)
        provider.end()
    _settled(4)
    _ask(alice, 4)


def test_a_job_whose_answer_was_lost_is_found_again(alice: Any, queue: Any, provider: Provider) -> None:
    provider.is_lost = True
    _ask(alice, 3)
    _go_on(queue, 5)
    assert (len(provider.jobs), Job.objects.get().state) == (1, "running")
    provider.end()
    _go_on(queue)
    _settled(3)


def test_of_two_with_one_name_the_older_counts_and_the_other_is_ended(
    alice: Any, queue: Any, provider: Provider
) -> None:
    provider.is_lost = True
    _ask(alice, 3)
    _go_on(queue, 2)
    first = next(iter(provider.jobs.values()))
    provider.jobs["batches/9"] = UpstreamJob("batches/9", first.display_name, list(first.keys), 0)
    _go_on(queue, 2)
    assert provider.canceled == ["batches/9"]
    provider.end()
    _go_on(queue, 2)
    _settled(3)


def test_a_job_that_was_not_created_is_created_later(alice: Any, queue: Any, provider: Provider) -> None:
    provider.refuses = [ChannelError("busy", "the queue is full", status=429), ChannelError("unreachable", "no road")]
    _ask(alice, 2)
    for _ in range(8):
        _go_on(queue)
        Channel.objects.update(cool_until=None, model_health={})
    provider.end()
    _go_on(queue)
    _settled(2)
    assert (Job.objects.get().create_count, len(provider.jobs)) == (3, 1)


def test_each_item_ends_by_itself_in_whatever_order(alice: Any, queue: Any, provider: Provider) -> None:
    _ask(alice, 6)
    _go_on(queue, 4)
    provider.strangers = ["somebody-elses", "and-another"]
    provider.results_of = {
        2: Answer("refused", "IMAGE_SAFETY"),
        4: Answer("no_image", "NO_IMAGE"),
        6: "missing",
        7: ChannelError("rejected", "the request is wrong"),
    }
    provider.end()
    _go_on(queue)
    codes = sorted(Output.objects.filter(state="failed").values_list("error_code", flat=True))
    assert codes == ["content_refused", "no_image", "upstream_rejected"]
    # The one that was missing is in a job of its own now.
    provider.results_of = {}
    provider.strangers = []
    _go_on(queue, 4)
    provider.end()
    _go_on(queue)
    _settled(3)
    assert Job.objects.count() == 2


@pytest.mark.parametrize("state", ["failed", "expired", "canceled"])
def test_a_job_that_brings_nothing_gives_its_items_back(
    alice: Any, queue: Any, provider: Provider, state: JobState
) -> None:
    _ask(alice, 3)
    _go_on(queue, 4)
    provider.end(state)
    _go_on(queue, 4)
    assert [job.outcome for job in Job.objects.order_by("pk")] == [state, ""]
    assert Attempt.objects.filter(status="error", cost_micros=0).count() == 3
    provider.end()
    _go_on(queue)
    _settled(3)


def test_after_its_day_an_item_fails_for_free(alice: Any, queue: Any, provider: Provider) -> None:
    _ask(alice, 2)
    _go_on(queue, 4)
    past = datetime.now(UTC) - timedelta(seconds=1)
    Generation.objects.update(deadline_at=past)
    Job.objects.update(deadline_at=past)
    _go_on(queue, 3)
    assert provider.canceled == ["batches/0"]
    assert set(Output.objects.values_list("state", "error_code")) == {("failed", "deadline_exceeded")}
    _settled(0)


def _past(hours: float) -> None:
    past = datetime.now(UTC) - timedelta(hours=hours)
    Generation.objects.update(deadline_at=past)
    Job.objects.update(deadline_at=past)


def test_a_job_that_was_not_sent_by_its_deadline_ends_for_free(alice: Any, queue: Any, provider: Provider) -> None:
    _ask(alice, 2)
    queue.run()
    Channel.objects.filter(name="jobs").update(is_enabled=False)
    _go_on(queue, 3)
    assert set(Output.objects.values_list("state", flat=True)) == {"sent"}
    _past(0.01)
    _go_on(queue)
    assert (provider.jobs, set(Output.objects.values_list("state", "error_code"))) == (
        {},
        {("failed", "deadline_exceeded")},
    )
    _settled(0)


def test_a_job_of_which_nothing_can_be_had_is_given_up_in_the_end(
    alice: Any, queue: Any, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    _ask(alice, 2)
    _go_on(queue, 4)

    async def out_of_reach(name: str, credentials: Credentials) -> JobStatus:
        raise ChannelError("failed", "the results are gone")

    monkeypatch.setattr(provider, "look", out_of_reach)
    _past(1.9)
    _go_on(queue, 3)
    assert Job.objects.get().state == "running", "for two hours it is asked for what it made"
    _past(2.1)
    _go_on(queue, 2)
    assert set(Output.objects.values_list("state", "error_code")) == {("failed", "deadline_exceeded")}
    assert (Job.objects.get().state, Job.objects.get().outcome) == ("ended", "lost")
    assert set(Attempt.objects.values_list("status", "cost_micros")) == {("unknown", 67_200)}
    _settled(0)


@pytest.mark.parametrize("is_sent", [False, True])
def test_one_requests_deadline_is_no_others(alice: Any, queue: Any, provider: Provider, is_sent: bool) -> None:
    hasty, patient = _ask(alice, 2), _ask(alice, 3)
    if is_sent:
        _go_on(queue, 4)
    else:
        queue.run()
    past = datetime.now(UTC) - timedelta(seconds=1)
    Generation.objects.filter(pk=hasty.pk).update(deadline_at=past)
    Job.objects.update(deadline_at=past)
    _go_on(queue, 3)
    assert set(hasty.outputs.values_list("state", "error_code")) == {("failed", "deadline_exceeded")}
    assert set(Attempt.objects.filter(output__generation=patient).values_list("status", flat=True)) == {"sent"}
    assert Job.objects.get().deadline_at == patient.deadline_at
    assert provider.canceled == []
    provider.end()
    _go_on(queue, 2)
    _settled(3)


def test_who_asked_so_has_it_made_at_once_after_the_deadline_within_the_hold(
    alice: Any, queue: Any, provider: Provider
) -> None:
    with FakeChat(cached=True) as fake:
        road_to(fake.base_url, "at once")
        made = _ask(alice, 2, is_run_on=True)
        assert made.quote_micros == 2 * STANDARD
        _go_on(queue, 4)
        past = datetime.now(UTC) - timedelta(seconds=1)
        Generation.objects.update(deadline_at=past)
        Job.objects.update(deadline_at=past)
        _go_on(queue, 4)
        queue.run_to_the_end()
    _settled(2, STANDARD)
    assert set(Attempt.objects.filter(status="ok").values_list("channel__name", "lane")) == {("at once", "standard")}


def test_what_is_asked_of_other_roads_joins_no_job(alice: Any, queue: Any, provider: Provider) -> None:
    request = GenerationRequest(
        prompt="x", preferences=Preferences(lane="batch", routing=Routing(max_price_micros=HALF - 1))
    )
    with pytest.raises(Exception, match="more than"):
        submission.accept(alice.requester("live"), request, now=datetime.now(UTC))
    assert not Job.objects.exists()


def test_a_result_that_cannot_be_settled_keeps_no_other_from_it_and_fails_for_free_in_the_end(
    alice: Any, queue: Any, provider: Provider
) -> None:
    _ask(alice, 4)
    _go_on(queue, 3)
    provider.results_of = {0: "absurd"}
    provider.end()
    _go_on(queue)
    assert sorted(Output.objects.values_list("state", flat=True))[-3:] == ["succeeded"] * 3
    assert Charge.objects.count() == 3
    assert (Job.objects.filter(state="ended").count(), list(_unknown_costs())) == (1, [67_200])
    # It is made anew, as after any answer that is lost, and not without end.
    for _ in range(12):
        _go_on(queue)
        provider.end()
    assert set(Output.objects.values_list("state", "error_code")) == {
        ("succeeded", ""),
        ("failed", "upstream_no_answer"),
    }
    assert not Job.objects.exclude(state="ended").exists()
    assert list(_unknown_costs()) == [67_200] * 3
    _settled(3)


def test_an_image_that_is_kept_and_cannot_be_charged_yet_stays_its_outputs(
    alice: Any, queue: Any, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    _ask(alice, 3)
    _go_on(queue, 3)
    provider.end()
    with monkeypatch.context() as broken:
        broken.setattr(settlement, "succeed", _refuse)
        broken.setattr(receiving, "_DELIVERIES", GroupCommit(_refuse))
        _go_on(queue)
    assert set(Output.objects.values_list("state", flat=True)) == {"received"}
    assert set(Attempt.objects.values_list("status", flat=True)) == {"ok"}
    assert Job.objects.get().state == "ended"
    Media.objects.update(created_at=datetime.now(UTC) - timedelta(minutes=1))
    Output.objects.update(lease_until=None)
    _go_on(queue)
    _settled(3)


def _refuse(*_: Any, **__: Any) -> Any:
    raise ValueError("the ledger is out of order")


def _unknown_costs() -> QuerySet[Attempt, int]:
    return Attempt.objects.filter(status="unknown").values_list("cost_micros", flat=True)
