"""Public ids: a type prefix and 26 letters and digits that sort by time, made from a UUID (version 7)."""

from __future__ import annotations

import secrets
import time
import uuid

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_VALUES = {letter: value for value, letter in enumerate(ALPHABET)}
_LENGTH = 26


def new_uuid() -> uuid.UUID:
    """A version 7 UUID (RFC 9562): 48 bits of Unix milliseconds, then 74 random bits."""
    milliseconds = time.time_ns() // 1_000_000
    value = (milliseconds & ((1 << 48) - 1)) << 80 | secrets.randbits(80)
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return uuid.UUID(int=value)


def public_id(prefix: str, value: uuid.UUID) -> str:
    """`gen_01k...`: the prefix, an underscore and the UUID in 26 characters of Crockford's base 32."""
    letters = [ALPHABET[(value.int >> (5 * place)) & 31] for place in reversed(range(_LENGTH))]
    return f"{prefix}_{''.join(letters)}"


def parse_public_id(prefix: str, text: str) -> uuid.UUID | None:
    """The UUID behind a public id of that prefix, or None if `text` is not one."""
    head, _, body = text.partition("_")
    if head != prefix or len(body) != _LENGTH or any(letter not in _VALUES for letter in body):
        return None
    number = 0
    for letter in body:
        number = number << 5 | _VALUES[letter]
    return uuid.UUID(int=number) if number < 1 << 128 else None
