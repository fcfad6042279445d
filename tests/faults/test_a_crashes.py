"""Fault catalogue A: a process that dies at each place where that leaves other rows or files behind.

A10, a web process that dies after a payment session was made, belongs to payments and is not here.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from accounts import crash_points
from accounts.identifiers import public_id
from generation.channels.fakes.gemini import Fault
from tests.faults.processes import Embedded, is_dead_by_kill, until
from tests.faults.raw_rows import Facts, files_below

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
ONCE, AGAIN = ("ok",), ("unknown", "ok")


@dataclass(frozen=True)
class Expected:
    """What a crash at one point leads to: the attempts of the output, and how many of them reached the upstream.

    `is_accepted`: the request is in the database when the process dies. `stray_count`: images in storage that no row
    will ever know of, at most. `faults` and `has_reference`: what else it takes for the road to come by there.
    """

    attempts: tuple[str, ...]
    hits: int
    is_accepted: bool = True
    stray_count: int = 0
    faults: tuple[tuple[str, str], ...] = ()
    has_reference: bool = False


EXPECTED = {
    "accept.saving": Expected(ONCE, 1, is_accepted=False),
    "accept.saved": Expected(ONCE, 1),
    "run.claimed": Expected(ONCE, 1, has_reference=True),
    # Nobody can know that no byte has left: the attempt counts as one that may have.
    "run.sent": Expected(AGAIN, 1),
    "call.answering": Expected(AGAIN, 2),
    "keep.stored": Expected(AGAIN, 2, stray_count=1),
    "keep.received": Expected(ONCE, 1, faults=(("FAULT_NO_CHARGES", "1"),)),
    # Image, charge and money are one transaction: what was in storage for it is nobody's.
    "settle.settling": Expected(AGAIN, 2, stray_count=1),
    "settle.settled": Expected(ONCE, 1),
}


def test_a1_to_a9_every_crash_point_is_tried() -> None:
    assert set(EXPECTED) == set(crash_points.NAMES)


def _ask(site: Any, prompt: str, **options: Any) -> str | None:
    """The id of an accepted prompt; None where the service died before it could answer."""
    try:
        return str(site.accepted(prompt, key=prompt, **options))
    except httpx2.TransportError:
        return None


@pytest.mark.parametrize("point", EXPECTED)
def test_a1_to_a9_a_process_that_dies_there_leaves_one_image_charged_once(house: Any, gemini: Any, point: str) -> None:
    expected, prompt = EXPECTED[point], f"{point} {time.time_ns()}"
    # The first answer has other bytes than the second, so that a file of it cannot pass for the second's.
    gemini.script.append(Fault("jpeg"))
    victim = house.start(FAULT_CRASH_AT=point, **dict(expected.faults))
    strays, count = house.site.strays(), house.site.rows.count("generation_generation")
    answered = _ask(house.site, prompt, has_reference=expected.has_reference)
    assert is_dead_by_kill(victim), house.site.log
    assert house.site.rows.count("generation_generation") - count == expected.is_accepted
    house.start()
    # A client that heard nothing sends the same request again: it is a repetition, or it was never there.
    generation = house.site.accepted(prompt, key=prompt, has_reference=expected.has_reference)
    assert answered in (None, generation)
    assert house.site.ended(generation)["status"] == "succeeded"
    assert house.site.rows.of(generation) == Facts("succeeded", "", expected.attempts, 1, 1, 1, "captured", 1)
    assert house.site.rows.count("generation_generation") - count == 1
    assert len(gemini.requests) == expected.hits
    assert len(house.site.strays() - strays) == expected.stray_count
    house.site.prove()


def _age(paths: Iterable[Path], *, hours: float) -> None:
    then = time.time() - hours * 3600
    for path in paths:
        os.utime(path, (then, then))


def _forget_a_round(house: Any) -> None:
    """Start the service anew and wait until it has looked through spool and storage.

    A reference of nobody's, old enough, is the last file that a round comes to: once it is gone, so is all that goes.
    """
    witness = house.site.media / f"references/zz/{public_id('gen', uuid.uuid4())}-0.png"
    witness.parent.mkdir(parents=True, exist_ok=True)
    witness.write_bytes(b"nobody's")
    _age([witness], hours=25)
    house.start()
    until(lambda: not witness.exists(), what="a round has been made")


def test_a5_a6_what_a_dead_process_leaves_on_the_disk_goes_by_its_age(
    make_embedded: Callable[..., Embedded], gemini: Any
) -> None:
    """A file in the spool is nobody's after two hours, an image that no row knows of after a day.

    Storage may hold the bytes of the spool under a second name, and then the two are of one age: the spool's name goes
    first and takes nothing from storage.
    """
    # Whoever follows a process that was killed soon knows it for dead.
    house = make_embedded(NBP_WORKER_STALE_SECONDS="2")
    site = house.site
    gemini.script.append(Fault("jpeg"))
    victim = house.start(FAULT_CRASH_AT="keep.stored")
    _ask(site, "half way")
    assert is_dead_by_kill(victim)
    house.start()
    site.all_ended()
    # The image is settled before its own spool file is removed.
    until(lambda: len(files_below(site.spool)) == 1, what="only the dead process's file is left in the spool")
    spooled, stored = files_below(site.spool), site.strays()
    assert len(stored) == 1
    left = [*(site.spool / name for name in spooled), *(site.media / name for name in stored)]
    content = left[-1].read_bytes()
    for hours, expected in (
        (1.9, (spooled, stored)),
        (2.1, (set(), stored)),
        (23, (set(), stored)),
        (25, (set(), set())),
    ):
        _age((path for path in left if path.exists()), hours=hours)
        _forget_a_round(house)
        assert (files_below(site.spool), site.strays()) == expected, f"{hours} hours old"
        assert not expected[1] or left[-1].read_bytes() == content
    site.prove()
