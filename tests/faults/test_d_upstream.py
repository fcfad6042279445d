"""D: whatever an upstream answers, or fails to answer, the customer pays for a delivered image once, or nothing."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from generation.channels.models import Channel
from generation.channels.registry import ADAPTERS, BATCH_ADAPTERS
from generation.models import Output
from tests.faults.pictures import Picture
from tests.faults.upstreams import OK, UNKNOWN, Health, Upstream
from tests.upstreams.speakers import SPEAKERS, STATUSES

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("audited")]

PictureOf = Callable[[uuid.UUID], Picture]

# Those that are tried again.
PASSING = {status: kind for status, kind in STATUSES.items() if kind in ("failed", "busy")}
# Sent, and no complete answer came: the upstream may have made, and billed, a picture.
BROKEN = {
    "a reset": ("reset", ""),
    "a reset after the headers": ("reset-midway", "0"),
    "a reset in the body": ("reset-midway", ""),
    "an orderly end without an answer": ("close", ""),
    "what is no HTTP": ("noise", ""),
    "a page with status 200": ("html", ""),
    "what is no base64": ("bad-base64", ""),
    "a page in place of the picture": ("not-an-image", ""),
    "half a picture": ("broken-image", ""),
}
# The body cut by each way of saying how long it is: after nothing, after one byte, in the words, in the picture, before
# the last byte; a compressed stream before its checksum, chunks before the one of no bytes.
PLACES = ("0", "1", "40", "", "-1")
CUT = {
    "truncated": PLACES,
    "json-cut": PLACES,
    "gzip-cut": (*PLACES, "-8"),
    "chunk-cut": (*PLACES, "999999999"),
}


def test_d_every_adapter_with_credentials_is_tried() -> None:
    at_once = set(ADAPTERS) - set(BATCH_ADAPTERS)
    assert set(SPEAKERS) == {kind for kind in at_once if ADAPTERS[kind].needs_secret}


@pytest.mark.parametrize(("name", "kind"), PASSING.items(), ids=PASSING)
def test_d1_d2_an_answered_error_is_tried_five_times_and_is_free(
    upstream: Upstream, rows: PictureOf, name: str, kind: str
) -> None:
    upstream.always(upstream.fault(name))
    made = upstream.make()
    assert rows(made) == upstream.failed("upstream_unavailable", [("error", kind)] * 5)
    assert (upstream.hits, upstream.cost_micros(made)) == (5, 0)
    assert upstream.health == Health(failures=5, is_off=False, has_succeeded=False)


def test_d1_d2_an_answered_error_that_passes_is_outlived_and_charged_once(upstream: Upstream, rows: PictureOf) -> None:
    played = ((name, kind) for name, kind in PASSING.items() if upstream.plays(name))
    for count, (name, kind) in enumerate(played, start=1):
        upstream.play(upstream.fault(name), upstream.fault(name))
        assert rows(upstream.make()) == upstream.delivered([("error", kind), ("error", kind), OK]), name
        assert upstream.hits == 3 * count
        assert upstream.health == Health(failures=0, is_off=False, has_succeeded=True)


@pytest.mark.parametrize("fault", BROKEN.values(), ids=BROKEN)
def test_d4_d7_d8_d11_a_broken_answer_is_unknown_and_the_house_pays(
    upstream: Upstream, rows: PictureOf, fault: tuple[str, str]
) -> None:
    upstream.always(upstream.fault(*fault))
    made = upstream.make()
    assert rows(made) == upstream.failed("upstream_no_answer", [UNKNOWN] * 3)
    paid = upstream.paid(fault[0], 3)
    assert (upstream.hits, upstream.cost_micros(made)) == (paid, paid * upstream.image_cost_micros())
    assert upstream.health == Health(failures=3, is_off=False, has_succeeded=False)


@pytest.mark.parametrize("way", CUT)
def test_d6_an_answer_cut_at_any_border_is_unknown_and_the_house_pays(
    upstream: Upstream, rows: PictureOf, way: str
) -> None:
    for count, place in enumerate(CUT[way], start=1):
        upstream.always(upstream.fault(way, place))
        made = upstream.make()
        assert rows(made) == upstream.failed("upstream_no_answer", [UNKNOWN] * 3), place
        assert (upstream.hits, upstream.cost_micros(made)) == (3 * count, 3 * upstream.image_cost_micros())
        assert upstream.health == Health(failures=3 * count, is_off=False, has_succeeded=False)


def test_d4_d6_d7_d8_d11_a_broken_answer_that_passes_is_outlived_and_charged_once(
    upstream: Upstream, rows: PictureOf
) -> None:
    faults = [*BROKEN.values(), *((way, place) for way, places in CUT.items() for place in places)]
    faults = [each for each in faults if upstream.plays(each[0])]
    hits = 0
    for fault in faults:
        upstream.play(upstream.fault(*fault))
        made = upstream.make()
        assert rows(made) == upstream.delivered([UNKNOWN, OK]), fault
        hits += upstream.paid(fault[0], 2)
        assert upstream.hits == hits
        assert upstream.health == Health(failures=0, is_off=False, has_succeeded=True)


@pytest.mark.parametrize("name", ["silent", "stall", "trickle", "trickle-head"])
def test_d4_d5_an_upstream_that_takes_for_ever_is_left_at_the_deadline(
    upstream: Upstream, rows: PictureOf, settings: Any, name: str
) -> None:
    """A timeout between two bytes would never end: each of these goes on for minutes, byte by byte or in silence."""
    upstream.make()  # The first call of a process makes its client and takes longer than the deadline below.
    settings.NBP_CALL_DEADLINE_SECONDS = 0.7
    left_before = upstream.fake.abandoned_count
    upstream.always(upstream.fault(name))
    made = upstream.make()
    assert rows(made) == upstream.failed("upstream_no_answer", [UNKNOWN] * 3)
    assert (upstream.hits, upstream.cost_micros(made)) == (1 + 3, 3 * upstream.image_cost_micros())
    assert upstream.health == Health(failures=3, is_off=False, has_succeeded=True)
    ends_at = time.monotonic() + 20
    while upstream.fake.abandoned_count < left_before + 3 and time.monotonic() < ends_at:
        time.sleep(0.05)
    assert upstream.fake.abandoned_count == left_before + 3


@pytest.mark.parametrize("name", ["huge", "gzip-bomb"])
def test_d9_a_gigabyte_is_given_up_at_the_cap_and_charged_once(upstream: Upstream, rows: PictureOf, name: str) -> None:
    upstream.play(upstream.fault(name, str(2**30)))
    made = upstream.make()
    assert rows(made) == upstream.delivered([UNKNOWN, OK])
    assert upstream.hits == upstream.paid(name, 2)
    message = str(Output.objects.get(generation=made).attempts.get(number=1).upstream_message)
    assert "larger than" in message


@pytest.mark.filterwarnings("ignore:.*is not a valid:UserWarning")
def test_d10_a_refusal_ends_at_once_for_free_with_its_reason_and_does_not_count_against_the_channel(
    upstream: Upstream, rows: PictureOf
) -> None:
    for count, (way, argument, reason) in enumerate(upstream.speaker.refusals, start=1):
        upstream.play(upstream.fault(way, argument))
        made = upstream.ask()
        upstream.queue.run()
        assert rows(made) == upstream.failed("content_refused", [OK]), reason
        assert reason in Output.objects.get(generation=made).error_message
        assert upstream.hits == count
    channel = Channel.objects.get(pk=upstream.channel.pk)
    assert upstream.health == Health(failures=0, is_off=False, has_succeeded=True)
    assert (channel.cool_until, channel.last_error) == (None, "")


@pytest.mark.filterwarnings("ignore:.*is not a valid:UserWarning")
def test_d10_an_answer_without_a_picture_ends_at_once_for_free_with_its_reason(
    upstream: Upstream, rows: PictureOf
) -> None:
    for count, (name, argument, reason) in enumerate(upstream.speaker.silences, start=1):
        upstream.play(upstream.fault(name, argument))
        made = upstream.ask()
        upstream.queue.run()
        assert rows(made) == upstream.failed("no_image", [OK]), reason
        assert reason in Output.objects.get(generation=made).error_message
        assert upstream.hits == count
    assert upstream.health == Health(failures=0, is_off=False, has_succeeded=True)


def test_d2_a_request_the_upstream_calls_wrong_is_not_sent_again(upstream: Upstream, rows: PictureOf) -> None:
    upstream.always(upstream.fault("400"))
    made = upstream.make()
    assert rows(made) == upstream.failed("upstream_rejected", [("error", "rejected")])
    assert (upstream.hits, upstream.cost_micros(made)) == (1, 0)
    assert upstream.health == Health(failures=0, is_off=False, has_succeeded=False)
