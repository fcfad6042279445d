"""Which channel next, and how long to wait."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from generation.channels.routing import MAX_ERRORS_PER_CHANNEL, Candidate, backoff_seconds, choose

NOW = datetime(2026, 11, 20, tzinfo=UTC)
LATER, LATEST = NOW + timedelta(seconds=5), NOW + timedelta(seconds=50)


def test_the_lowest_priority_number_goes_first() -> None:
    assert choose([Candidate("b", 2), Candidate("a", 1)], {}, now=NOW).channel_id == "a"


def test_a_cooling_channel_is_passed_over_while_another_can_serve() -> None:
    assert choose([Candidate("a", 1, LATER), Candidate("b", 2)], {}, now=NOW).channel_id == "b"
    assert choose([Candidate("a", 1, NOW), Candidate("b", 2)], {}, now=NOW).channel_id == "a"


def test_an_only_channel_that_cools_delays_and_never_fails() -> None:
    choice = choose([Candidate("a", 1, LATEST), Candidate("b", 2, LATER)], {}, now=NOW)
    assert (choice.channel_id, choice.wait_until) == (None, LATER)


def test_after_five_errors_a_channel_has_served_its_turn() -> None:
    channels = [Candidate("a", 1), Candidate("b", 2)]
    assert choose(channels, {"a": 4}, now=NOW).channel_id == "a"
    assert choose(channels, {"a": 5}, now=NOW).channel_id == "b"
    assert choose(channels, {"a": 5, "b": 5}, now=NOW) == choose([], {}, now=NOW)


@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 3), st.sampled_from([None, NOW, LATER])), max_size=6),
    st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 6)),
)
def test_it_never_chooses_what_is_spent_or_cooling(
    rows: list[tuple[str, int, datetime | None]], errors: dict[str, int]
) -> None:
    channels = list({name: Candidate(name, priority, cool) for name, priority, cool in rows}.values())
    choice = choose(channels, errors, now=NOW)
    if choice.channel_id is not None:
        chosen = next(each for each in channels if each.id == choice.channel_id)
        assert errors.get(chosen.id, 0) < MAX_ERRORS_PER_CHANNEL
        assert chosen.cool_until is None or chosen.cool_until <= NOW
    elif choice.wait_until is None:
        assert all(errors.get(each.id, 0) >= MAX_ERRORS_PER_CHANNEL for each in channels)


def test_waits_grow_and_respect_the_upstream() -> None:
    waits = [backoff_seconds(count, retry_after=None, base_seconds=1.0, chance=0.5) for count in (1, 2, 3, 4)]
    assert waits == [2.5, 4.5, 8.5, 16.5]
    assert backoff_seconds(1, retry_after=34.0, base_seconds=1.0, chance=0.0) == 34.0
