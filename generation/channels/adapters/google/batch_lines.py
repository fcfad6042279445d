"""Cuts a file of results into its lines and reads whose they are; it never judges what a result says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from generation.channels.adapters.http_json import mapping, text

# As Google writes it: before or after everything else that the line says.
_STRING = rb'("(?:[^"\\]|\\.)*")'
_FIRST = re.compile(rb'\s*\{\s*"key"\s*:\s*' + _STRING)
_LAST = re.compile(rb',\s*"key"\s*:\s*' + _STRING + rb"\s*\}\s*\Z")
_LONGEST_KEY_BYTES = 4096


class Lines:
    """Takes bytes piece by piece and yields lines, which end with a line feed and nothing else: a text in JSON may have
    every other separator in it. What a line has above `most_bytes` is dropped."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._line = bytearray()

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The lines that end in this piece."""
        *ends, rest = piece.split(b"\n")
        for end in ends:
            self._keep(end)
            yield self.finish()
        self._keep(rest)

    def finish(self) -> bytes:
        """The line so far; another begins."""
        line, self._line = bytes(self._line), bytearray()
        return line

    def _keep(self, part: bytes) -> None:
        self._line += part[: self._most_bytes - len(self._line)]


def read(line: bytes) -> tuple[str, Mapping[str, Any]]:
    """Whose result a line is, and what it says: nothing if it is no JSON. The key is empty if it cannot be told."""
    try:
        told = json.loads(line)
    except (ValueError, RecursionError):
        told = None
    return (key_of(told), told) if isinstance(told, dict) else (_key_in(line), {})


def key_of(told: Mapping[str, Any]) -> str:
    """Whose result it is; files say it outright, and results inline in the metadata."""
    return text(told.get("key")) or text(mapping(told.get("metadata")).get("key"))


def _key_in(line: bytes) -> str:
    match = _FIRST.match(line[:_LONGEST_KEY_BYTES]) or _LAST.search(line[-_LONGEST_KEY_BYTES:])
    try:
        return text(json.loads(match[1])) if match else ""
    except ValueError:
        return ""
