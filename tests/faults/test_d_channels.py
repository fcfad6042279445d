"""D: a channel that is refused, busy or out of reach is left alone as long as it must be, and another one serves."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from generation import tasks
from generation.channels.models import Channel
from generation.contract import Refusal
from generation.models import Attempt, Output
from tests.faults.pictures import Picture
from tests.faults.upstreams import OK, Health, Upstream
from tests.upstreams.speakers import Fake

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("audited")]

PictureOf = Callable[[uuid.UUID], Picture]
BUSY = ("error", "busy")


@pytest.fixture
def spare(upstream: Upstream, start_fake: Callable[..., Fake]) -> Fake:
    """A second channel, to be used after the first."""
    fake = start_fake(upstream.kind, "spare")
    upstream.road_to(fake.base_url, name="spare", priority=2)
    return fake


def _channels(generation_id: uuid.UUID) -> list[str]:
    rows = Attempt.objects.filter(output__generation=generation_id).order_by("number")
    return list(rows.values_list("channel__name", flat=True))


@pytest.mark.parametrize("status", ["401", "402", "403"])
def test_d14_a_channel_that_refuses_us_is_switched_off_with_an_alert_and_another_serves(
    upstream: Upstream, spare: Fake, rows: PictureOf, caplog: pytest.LogCaptureFixture, status: str
) -> None:
    upstream.always(upstream.fault(status))
    made = upstream.make()
    assert rows(made) == upstream.delivered([("error", "unauthorized"), OK])
    assert _channels(made) == ["upstream", "spare"]
    assert upstream.health == Health(failures=0, is_off=True, has_succeeded=False)
    alerts = [each.getMessage() for each in caplog.records if each.levelname == "ERROR"]
    assert len(alerts) == 1
    assert alerts[0].startswith(f"channel {upstream.channel.pk} is switched off: unauthorized: {status}")
    assert upstream.speaker.secret not in caplog.text + Channel.objects.get(pk=upstream.channel.pk).disabled_reason
    assert rows(upstream.make()) == upstream.delivered([OK])
    assert (upstream.hits, len(spare.requests)) == (1, 2)


@pytest.mark.parametrize("status", ["401", "402", "403"])
def test_d14_without_another_channel_the_output_is_free_and_the_next_request_is_turned_away(
    upstream: Upstream, rows: PictureOf, status: str
) -> None:
    upstream.always(upstream.fault(status))
    made = upstream.make()
    assert rows(made) == upstream.failed("upstream_unavailable", [("error", "unauthorized")])
    assert (upstream.hits, upstream.cost_micros(made)) == (1, 0)
    with pytest.raises(Refusal) as caught:
        upstream.ask()
    assert (caught.value.kind, caught.value.code) == ("unavailable", "no_channel_available")
    assert upstream.hits == 1


def _in_seconds(seconds: float) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


HINTS: dict[str, tuple[Callable[[], dict[str, str]], float]] = {
    "seconds": (lambda: {"retry_after": "40"}, 40),
    "a date": (lambda: {"retry_after": _in_seconds(40)}, 40),
    "details": (lambda: {"retry_delay": "40s"}, 40),
    "a day is cut to five minutes": (lambda: {"retry_after": "86400"}, 300),
    "more than a number can be": (lambda: {"retry_after": "9" * 400, "retry_delay": "40s"}, 40),
}


@pytest.mark.parametrize("status", ["429", "503"])
@pytest.mark.parametrize(("hints", "seconds"), HINTS.values(), ids=HINTS)
def test_d1_a_busy_channel_is_left_alone_as_long_as_it_asks(
    upstream: Upstream, rows: PictureOf, status: str, hints: Callable[[], dict[str, str]], seconds: float
) -> None:
    before = datetime.now(UTC)
    upstream.play(upstream.fault(status, **hints()))
    made = upstream.ask()
    for _ in range(3):
        upstream.queue.run()
        Output.objects.update(nudged_at=None)
        tasks.sweep()
    assert (upstream.hits, rows(made).attempts) == (1, [BUSY])
    output, channel = Output.objects.get(), Channel.objects.get(pk=upstream.channel.pk)
    assert channel.cool_until is not None
    for moment in (output.next_run_at, channel.cool_until):
        # Dates in headers have no fractions of a second.
        assert seconds - 1.5 <= (moment - before).total_seconds() <= seconds + 30
    upstream.queue.run_to_the_end()
    assert rows(made) == upstream.delivered([BUSY, OK])
    assert upstream.hits == 2


@pytest.mark.parametrize("hint", ["", "soon", "-5", "nan", "0", "Thu, 01 Jan 1970 00:00:00 GMT"])
def test_d1_a_busy_channel_that_names_no_time_is_tried_again_with_growing_waits(
    upstream: Upstream, rows: PictureOf, settings: Any, hint: str
) -> None:
    settings.NBP_RETRY_BASE_SECONDS = 10.0
    upstream.play(*[upstream.fault("429", retry_after=hint)] * 3)
    made = upstream.ask()
    for waits in (20, 40, 80):
        before = datetime.now(UTC)
        upstream.queue.run()
        waited = (Output.objects.get().next_run_at - before).total_seconds()
        assert waits - 1 <= waited <= waits + 10 + 20
        assert Channel.objects.get(pk=upstream.channel.pk).cool_until is None
        Output.objects.update(next_run_at=before, nudged_at=None)
        tasks.sweep()
    upstream.queue.run_to_the_end()
    assert rows(made) == upstream.delivered([BUSY] * 3 + [OK])
    assert upstream.health == Health(failures=0, is_off=False, has_succeeded=True)


def test_d1_while_one_channel_cools_down_another_serves_at_once(
    upstream: Upstream, spare: Fake, rows: PictureOf
) -> None:
    upstream.always(upstream.fault("429", retry_after="60"))
    started_at = time.monotonic()
    made = upstream.ask()
    while rows(made).status != "succeeded" and time.monotonic() < started_at + 30:
        upstream.queue.run()
        tasks.sweep()
    assert rows(made) == upstream.delivered([BUSY, OK])
    assert _channels(made) == ["upstream", "spare"]
    second = upstream.ask()
    upstream.queue.run()
    assert rows(second) == upstream.delivered([OK])
    assert (upstream.hits, len(spare.requests)) == (1, 2)


def test_d2_a_channel_that_is_down_is_given_up_after_five_tries_and_another_serves(
    upstream: Upstream, spare: Fake, rows: PictureOf
) -> None:
    upstream.always(upstream.fault("500"))
    made = upstream.make()
    assert rows(made) == upstream.delivered([("error", "failed")] * 5 + [OK])
    assert _channels(made) == ["upstream"] * 5 + ["spare"]
    assert (upstream.hits, len(spare.requests)) == (5, 1)
