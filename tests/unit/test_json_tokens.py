"""The tokenizer of streamed JSON: it finds every long string, and whatever it is fed comes out again unchanged."""

from __future__ import annotations

import json
import re
import tracemalloc

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from generation.egress.json_tokens import LONG_STRING_BYTES, Kind, LongStrings, Token
from tests.json_texts import cut, objects, seeds, spelled, values

LONG = 12
STRING = re.compile(rb'"((?:[^"\\]|\\.)*)"', re.DOTALL)


def tokens_of(*pieces: bytes, long_bytes: int = LONG) -> list[Token]:
    cutter = LongStrings(long_bytes)
    tokens = [token for piece in pieces for token in cutter.feed(piece)]
    cutter.finish()
    return tokens


def strings_of(tokens: list[Token]) -> list[list[bytes]]:
    """The long strings, each as its pieces."""
    found: list[list[bytes]] = [[]]
    for kind, text in tokens:
        if kind is Kind.STRING:
            found[-1].append(text)
        elif kind is Kind.STRING_END:
            found.append([])
    assert found.pop() == []
    return found


def joined(tokens: list[Token]) -> bytes:
    """The text that was fed, as far as the tokens tell it."""
    text, is_inside = b"", False
    for kind, piece in tokens:
        is_opening = kind is Kind.STRING and not is_inside
        text += b'"' * (is_opening or kind is Kind.STRING_END) + piece
        is_inside = kind is Kind.STRING
    return text


@settings(deadline=None, max_examples=400)
@given(values, seeds, seeds)
def test_every_long_string_is_found_and_the_text_stays_what_it_was(value: object, spelling: int, cutting: int) -> None:
    text = spelled(value, spelling)
    tokens = tokens_of(*cut(text, cutting))
    found = strings_of(tokens)
    assert [b"".join(pieces) for pieces in found] == [s[1] for s in STRING.finditer(text) if len(s[1]) >= LONG]
    assert joined(tokens) == text
    for pieces in found:
        assert len(pieces[0]) >= LONG
        for piece in pieces:
            json.loads('"' + piece.decode("latin-1") + '"', strict=False)  # No piece ends inside an escape.


@settings(deadline=None, max_examples=60)
@given(objects, seeds, seeds)
def test_no_beginning_of_an_object_passes_for_a_whole_one(value: object, spelling: int, cutting: int) -> None:
    text = spelled(value, spelling)
    for length in range(len(text)):
        with pytest.raises((httpx2.DecodingError, ValueError)):
            json.loads(joined(tokens_of(*cut(text[:length], cutting))))


rubbish = st.one_of(
    st.binary(max_size=300),
    st.lists(st.sampled_from([b'"', b"\\", b"\\\\", b"u", b"\\u12", b"{", b"A" * 20, b"\xff", b"\0"]), max_size=60).map(
        b"".join
    ),
)


@settings(deadline=None, max_examples=500)
@given(rubbish, seeds)
def test_what_is_no_json_comes_out_as_it_was_or_is_said_to_break_off(text: bytes, cutting: int) -> None:
    try:
        tokens = tokens_of(*cut(text, cutting))
    except httpx2.DecodingError:
        return
    assert joined(tokens) == text


@settings(deadline=None, max_examples=200)
@given(rubbish, seeds)
def test_hardly_more_than_one_short_string_is_ever_held_back(text: bytes, cutting: int) -> None:
    cutter, fed_count, tokens = LongStrings(LONG), 0, []
    for piece in cut(text, cutting):
        fed_count += len(piece)
        tokens += cutter.feed(piece)
        assert fed_count - len(joined(tokens)) <= LONG + len(b'"\\u123')


def test_a_string_is_long_from_its_threshold_on() -> None:
    text = b'["' + b"a" * LONG_STRING_BYTES + b'","' + b"b" * (LONG_STRING_BYTES - 1) + b'"]'
    assert strings_of(tokens_of(text, long_bytes=LONG_STRING_BYTES)) == [[b"a" * LONG_STRING_BYTES]]


@pytest.mark.parametrize("gap", [b" " * 40, b"," + b"1" * 40 + b","])
def test_a_wide_gap_between_strings_is_no_string(gap: bytes) -> None:
    text = b'["a"' + gap + b'"b"' + gap + b'"' + b"c" * 40 + b'"]'
    assert strings_of(tokens_of(text)) == [[b"c" * 40]]


@pytest.mark.parametrize("backslashes", range(1, 9))
@pytest.mark.parametrize("step", [1, 2, 3, 100])
def test_a_quote_closes_after_an_even_number_of_backslashes_only(backslashes: int, step: int) -> None:
    inside = b"x" * 20 + b"\\" * backslashes + (b'"' if backslashes % 2 else b"")
    text = b'["' + inside + b'",1]'
    found = strings_of(tokens_of(*(text[i : i + step] for i in range(0, len(text), step))))
    assert [b"".join(pieces) for pieces in found] == [inside]


@pytest.mark.parametrize("text", [b'["abc', b'["' + b"a" * 50, b'["' + b"a" * 50 + b"\\", b'["a\\"', b'["a\\'])
def test_an_end_inside_a_string_is_an_error(text: bytes) -> None:
    with pytest.raises(httpx2.DecodingError, match="breaks off inside a string"):
        tokens_of(text)


def test_the_middle_of_a_long_string_is_not_copied() -> None:
    cutter = LongStrings()
    middle = b"A" * 1_000_000
    list(cutter.feed(b'["' + middle))
    tracemalloc.start()
    try:
        ((_, piece),) = cutter.feed(middle)
        assert tracemalloc.get_traced_memory()[1] < 10_000
    finally:
        tracemalloc.stop()
    assert piece is middle
