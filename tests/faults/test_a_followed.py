"""A15: a process that dies while work goes on upstream: who comes after it follows that work and asks for no other."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from accounts import crash_points
from tests.faults.processes import is_dead_by_kill
from tests.faults.raw_rows import Facts
from tests.upstreams.bfl import FakeBfl

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

# What the stand-in says that it bills for a picture, and what the catalogue says where nobody was told.
CREDITS, BILLED, PRESUMED = 4.0, 40_000, 30_000
ADD_CHANNEL = """
from generation.channels.models import Channel
channel = Channel(name="flux", kind="bfl", mode="live", base_url="{url}")
channel.set_secret("a-made-up-key")
channel.save()
"""


@dataclass(frozen=True)
class Tried:
    """An attempt: how it ended, the place of the submission whose work its handle names, and what it cost."""

    status: str
    error_kind: str
    submission: int | None
    cost_micros: int


@dataclass(frozen=True)
class Expected:
    """What a crash at one point leads to: the attempt as it was left, and all of them in the end."""

    left: Tried
    attempts: tuple[Tried, ...]
    submission_count: int


# Nobody can find that work again. It is perhaps billed, and the next attempt asks for a picture of its own.
LOST = Expected(
    Tried("sent", "", None, 0), (Tried("unknown", "unknown", None, PRESUMED), Tried("ok", "", 1, BILLED)), 2
)
FOLLOWED = Expected(Tried("sent", "", 0, 0), (Tried("unknown", "unknown", 0, 0), Tried("ok", "", 0, BILLED)), 1)
EXPECTED = {
    "handle.given": LOST,
    "handle.kept": FOLLOWED,
    # The first answer names the work, the second says that it goes on, the third that the picture can be fetched.
    "call.answering:3": FOLLOWED,
    "keep.stored": FOLLOWED,
}


@pytest.fixture(scope="module")
def module_provider() -> Iterator[FakeBfl]:
    with FakeBfl(cached=True, pending_polls=1, cost=CREDITS) as found:
        yield found


@pytest.fixture
def provider(module_provider: FakeBfl, house: Any) -> FakeBfl:
    """A provider that has forgotten the tests before, and a channel of the house that leads there."""
    module_provider.forget()
    for asked in (module_provider.requests, module_provider.polls, module_provider.downloads):
        asked.clear()
    if not house.site.rows.one("SELECT count(*) FROM channels_channel WHERE name = 'flux'"):
        done = house.site.manage("shell", "-c", ADD_CHANNEL.format(url=module_provider.base_url))
        assert done.returncode == 0, done.stderr
    return module_provider


def _tried(site: Any, generation: str, submissions: list[str]) -> list[Tried]:
    rows = site.rows.all(
        "SELECT a.status, a.error_kind, a.handle, a.cost_micros FROM generation_attempt a"
        " JOIN generation_output o ON o.id = a.output_id WHERE o.generation_id = ? ORDER BY a.number",
        site.rows.key(generation),
    )
    return [
        Tried(status, kind, submissions.index(json.loads(handle)["id"]) if handle else None, cost)
        for status, kind, handle, cost in rows
    ]


def test_a15_every_crash_point_of_work_that_is_followed_is_tried() -> None:
    assert set(crash_points.HANDLE_NAMES) <= set(EXPECTED)


@pytest.mark.parametrize("point", EXPECTED)
def test_a15_work_that_goes_on_upstream_is_followed_and_not_asked_for_again(
    house: Any, provider: FakeBfl, point: str
) -> None:
    expected, site = EXPECTED[point], house.site
    victim = house.start(FAULT_CRASH_AT=point)
    generation = site.accepted(f"{point} {time.time_ns()}", model="flux-2-pro")
    assert is_dead_by_kill(victim), site.log[-3000:]
    assert _tried(site, generation, provider.task_ids) == [expected.left]
    house.start()
    assert site.ended(generation)["status"] == "succeeded", site.log[-3000:]
    assert _tried(site, generation, provider.task_ids) == list(expected.attempts)
    attempts = tuple(each.status for each in expected.attempts)
    assert site.rows.of(generation) == Facts("succeeded", "", attempts, 1, 1, 1, "captured", 1)
    assert len(provider.requests) == len(provider.task_ids) == expected.submission_count
    last = provider.task_ids[-1]
    assert {each.query["id"] for each in provider.polls} == {last}
    assert {each.path for each in provider.downloads} == {f"/delivery/{last}.png"}
    # What the dead process had stored is the very picture that is delivered.
    assert site.strays() == set()
    site.prove()
