"""A key's form, without a database: pieces, checksum, and what a typo does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts import keys, sealed
from accounts.identifiers import new_uuid, parse_public_id, public_id

BODY = "nbp_test_ABCDEFGHIJKL_" + "s" * 43
RAW = BODY + keys._checksum(BODY)


def test_a_key_is_read_into_its_pieces() -> None:
    parsed = keys.parse(RAW)
    assert parsed is not None
    assert (parsed.mode, parsed.key_id, parsed.secret) == ("test", "ABCDEFGHIJKL", "s" * 43)


@given(place=st.integers(0, len(RAW) - 1), letter=st.sampled_from(keys.ALPHABET + "_"))
def test_one_wrong_letter_is_noticed_without_a_database(place: int, letter: str) -> None:
    typo = RAW[:place] + letter + RAW[place + 1 :]
    assert (keys.parse(typo) is None) == (typo != RAW)


@given(st.text(max_size=90))
def test_nonsense_is_no_key(text: str) -> None:
    assert keys.parse(text) is None


def test_public_ids_go_there_and_back_and_sort_by_time() -> None:
    made = [new_uuid() for _ in range(200)]
    for each in made:
        assert parse_public_id("gen", public_id("gen", each)) == each
        assert each.version == 7
    times = [each.int >> 80 for each in made]
    assert times == sorted(times)


@pytest.mark.parametrize(
    "text",
    ["", "gen_", "gen_x", "out_" + "0" * 26, "gen_" + "z" * 26, "gen_" + "u" * 26, "gen_" + "0" * 27, "gen_\u0660" * 9],
)
def test_what_is_not_an_id(text: str) -> None:
    assert parse_public_id("gen", text) is None


def test_a_seal_opens_in_its_place_only(settings: object) -> None:
    text = sealed.seal("a secret", place="channels_channel:1:secret")
    assert "a secret" not in text
    assert sealed.unseal(text, place="channels_channel:1:secret") == "a secret"
    for place in ("channels_channel:2:secret", "channels_channel:1:other"):
        with pytest.raises(sealed.SealBroken):
            sealed.unseal(text, place=place)
    for broken in (text[:-4] + "AAAA", "k9:" + text[3:], "nonsense", "k1:%%%"):
        with pytest.raises(sealed.SealBroken):
            sealed.unseal(broken, place="channels_channel:1:secret")


def test_the_ring_is_rotated_by_putting_a_new_key_in_front(settings: object) -> None:
    old = settings.NBP_FIELD_KEYS  # type: ignore[attr-defined]
    text = sealed.seal("a secret", place="p")
    settings.NBP_FIELD_KEYS = "k2:" + "ab" * 32 + "," + old  # type: ignore[attr-defined]
    assert sealed.unseal(text, place="p") == "a secret"
    assert sealed.seal("a secret", place="p").startswith("k2:")
    settings.NBP_FIELD_KEYS = "k2:" + "ab" * 32  # type: ignore[attr-defined]
    with pytest.raises(sealed.SealBroken):
        sealed.unseal(text, place="p")
