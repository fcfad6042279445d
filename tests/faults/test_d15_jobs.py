"""D15: a batch of two hundred prompts whose process is killed twice in the middle ends settled, at half price."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.faults.processes import Embedded, is_dead_by_kill, until
from tests.upstreams.gemini_batch import FakeGeminiBatch

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

COUNT, HALF = 200, 73_700
ADD_CHANNEL = """
from generation.channels.models import Channel
channel = Channel(name="jobs", kind="gemini_batch", mode="live", base_url="{url}", queued_tokens=2_000_000)
channel.set_secret("AIzaSyAMadeUpSecretOfTheBatchChannel")
channel.save()
"""


@pytest.fixture
def provider() -> Iterator[FakeGeminiBatch]:
    with FakeGeminiBatch(looks_until_end=2) as found:
        found.enqueued_token_limit = 2_000_000
        yield found


@pytest.mark.parametrize("deaths", [("job.creating", "job.settling:40"), ("job.created", "job.settling:7")])
def test_d15_a_batch_killed_twice_is_settled_once_at_half_price(
    make_embedded: Callable[..., Embedded], gemini: Any, provider: FakeGeminiBatch, deaths: tuple[str, str]
) -> None:
    house = make_embedded(
        NBP_JOB_GATHER_SECONDS="8", NBP_JOB_POLL_SECONDS="0.5", NBP_JOB_MAX_ITEMS="500", NBP_ACCOUNT_RUNNING_CAP="1000"
    )
    done = house.site.manage("shell", "-c", ADD_CHANNEL.format(url=provider.base_url))
    assert done.returncode == 0, done.stderr
    house.stop()
    victim = house.start(FAULT_CRASH_AT=deaths[0])
    made = [house.site.accepted(f"a lighthouse {number}", lane="batch", n=10) for number in range(COUNT // 10)]
    for death in (*deaths[1:], ""):
        assert is_dead_by_kill(victim, seconds=240), house.site.log[-3000:]
        victim = house.start(**({"FAULT_CRASH_AT": death} if death else {}))
    house.site.all_ended(seconds=240)
    until(lambda: all(house.site.ended(each)["status"] == "succeeded" for each in made), what="all have succeeded")
    rows = house.site.rows
    assert rows.one("SELECT count(*) FROM generation_charge") == COUNT
    assert rows.one(f"SELECT count(*) FROM generation_charge WHERE price_micros = {HALF}") == COUNT
    assert rows.one("SELECT count(*) FROM generation_attempt WHERE status <> 'ok'") == 0
    asked = [key for job in provider.jobs.values() for key, _ in job.lines]
    assert sorted(asked) == sorted(set(asked)), "nothing was asked for twice"
    assert (len(asked), gemini.requests) == (COUNT, [])
    assert provider.peak_tokens <= 2_000_000
    house.site.prove()
