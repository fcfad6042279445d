"""Hypothesis strategies for JSON: values with base64 in them, any spelling of a value, any way to cut a text."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

_SHORT_ESCAPES = {"\n": r"\n", "\t": r"\t", "\r": r"\r", "\b": r"\b", "\f": r"\f", "/": r"\/", '"': r"\"", "\\": r"\\"}
_PIECE_SIZES = (1, 1, 2, 3, 5, 17, 100, 10_000)


def _broken(text: str, position: int, wrong: str) -> str:
    return text[: position % (len(text) + 1)] + wrong + text[position % (len(text) + 1) :]


standard_base64 = st.binary(max_size=60).map(lambda data: base64.b64encode(data).decode())
url_safe_base64 = st.binary(max_size=60).map(lambda data: base64.urlsafe_b64encode(data).decode())
base64_texts = st.one_of(
    standard_base64,
    url_safe_base64,
    st.one_of(standard_base64, url_safe_base64).map(lambda text: text.rstrip("=")),
    st.one_of(standard_base64, url_safe_base64).map(lambda text: text.removesuffix("=")),
)
nearly_base64_texts = st.one_of(
    st.builds(
        _broken, base64_texts, st.integers(0, 99), st.sampled_from(["=", "\n", "    ", "é", "_", "+", "\\", "A"])
    ),
    st.text("AQ+/-_=", max_size=60),
)
texts_with_data_urls = st.builds(
    "{}data:{};base64,{}{}".format,
    st.sampled_from(["", "", "![a picture](", "Here: "]),
    st.sampled_from(["image/png", "image/jpeg", "", "IMAGE/WEBP;charset=utf-8"]),
    st.one_of(base64_texts, nearly_base64_texts),
    st.sampled_from(["", "", ")", ") and words", "\n![b](data:image/png;base64,QUJD)"]),
)
strings = st.one_of(st.text(max_size=40), base64_texts, base64_texts, nearly_base64_texts, texts_with_data_urls)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), strings),
    lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(strings, inner, max_size=5)),
    max_leaves=12,
)
objects = st.dictionaries(strings, values, max_size=5)
seeds = st.integers(0, 2**32)


def spelled(value: Any, seed: int) -> bytes:
    """The value as JSON, with escapes and white space where the seed wants them."""
    return _spelled(value, random.Random(seed)).encode()


def _spelled(value: Any, chance: random.Random) -> str:
    def space() -> str:
        return chance.choice(("", "", "", " ", "\n\t"))

    if isinstance(value, str):
        return _spelled_string(value, chance)
    if isinstance(value, list):
        return "[" + ",".join(space() + _spelled(item, chance) + space() for item in value) + "]"
    if isinstance(value, dict):
        items = (f"{space()}{_spelled(k, chance)}{space()}:{space()}{_spelled(v, chance)}" for k, v in value.items())
        return "{" + ",".join(items) + space() + "}"
    return json.dumps(value)


def _spelled_string(text: str, chance: random.Random) -> str:
    share = chance.choice((0.0, 0.0, 0.05, 0.5, 1.0))
    return '"' + "".join(_spelled_character(character, chance, share) for character in text) + '"'


def _spelled_character(character: str, chance: random.Random, share: float) -> str:
    if chance.random() < share:
        units = character.encode("utf-16-be", "surrogatepass")
        escape = "".join(f"\\u{units[i] << 8 | units[i + 1]:04x}" for i in range(0, len(units), 2))
        return chance.choice((escape, escape.replace("a", "A"), _SHORT_ESCAPES.get(character, escape)))
    is_escaped = character in '"\\' or character < " " or "\ud800" <= character <= "\udfff"
    return json.dumps(character)[1:-1] if is_escaped else character


def cut(text: bytes, seed: int) -> Iterator[bytes]:
    """The text in pieces of every kind of size."""
    chance = random.Random(seed)
    size = chance.choice(_PIECE_SIZES)
    position = 0
    while position < len(text):
        step = chance.choice((size, chance.choice(_PIECE_SIZES)))
        yield text[position : position + step]
        position += step
