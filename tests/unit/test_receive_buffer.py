"""h11 without its copies says of any bytes, in any pieces, what h11 as it comes says of them."""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import h11
from hypothesis import example, given, settings
from hypothesis import strategies as st

import generation.egress.pooled  # noqa: F401  spares the copies


def _as_it_comes() -> ModuleType:
    """h11 imported once more, beside the one everybody uses."""
    kept = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "h11"}
    for name in kept:
        del sys.modules[name]
    try:
        return importlib.import_module("h11")
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "h11"]:
            del sys.modules[name]
        sys.modules.update(kept)


PLAIN = _as_it_comes()
HEAD = b"HTTP/1.1 200 OK\r\nServer: one\r\n"
BODY = bytes(at % 251 for at in range(200_000))


def _length(body: bytes) -> bytes:
    return b"Content-Length: %d\r\n\r\n" % len(body) + body


def _chunked(body: bytes, size: int) -> bytes:
    chunks = [body[at : at + size] for at in range(0, len(body), size)]
    return (
        HEAD
        + b"Transfer-Encoding: chunked\r\n\r\n"
        + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in [*chunks, b""])
    )


def _told(module: Any, received: list[bytes]) -> list[Any]:
    """The events by name, a body's data joined, and the error that ended it."""
    connection = module.Connection(module.CLIENT)
    connection.send(module.Request(method="GET", target="/", headers=[("Host", "a")]))
    connection.send(module.EndOfMessage())
    told: list[Any] = []
    for piece in received:
        try:
            connection.receive_data(piece)
            while (event := connection.next_event()) is not module.NEED_DATA and event is not module.PAUSED:
                _tell(told, event)
                if type(event).__name__ in ("EndOfMessage", "ConnectionClosed"):
                    break
        except module.RemoteProtocolError as error:
            return [*told, str(error)]
    return [*told, bytes(connection.trailing_data[0])]


def _tell(told: list[Any], event: Any) -> None:
    if type(event).__name__ != "Data":
        told.append((type(event).__name__, list(getattr(event, "headers", []))))
    elif told and isinstance(told[-1], bytes):
        told[-1] += bytes(event.data)
    else:
        told.append(bytes(event.data))


@dataclass(frozen=True)
class Answer:
    """An answer of some form, perhaps with another one behind it, perhaps broken off."""

    form: str
    body_bytes: int
    chunk_bytes: int = 1000
    is_followed: bool = False
    lost_bytes: int = 0
    head_bytes: int = 0

    def sent(self) -> bytes:
        body, head = BODY[: self.body_bytes], HEAD + b"X-Long: " + b"a" * self.head_bytes + b"\r\n"
        if self.form == "length":
            sent = head + _length(body)
        elif self.form == "chunked":
            sent = head + _chunked(body, self.chunk_bytes)
        else:
            sent = head + b"Connection: close\r\n\r\n" + body
        sent += HEAD + _length(b"next") if self.is_followed else b""
        return sent[: len(sent) - self.lost_bytes]


answers = st.builds(
    Answer,
    st.sampled_from(["length", "chunked", "close"]),
    st.integers(0, 200_000),
    st.integers(1_000, 90_000),
    st.booleans(),
    st.one_of(st.just(0), st.integers(1, 50_000)),
    st.one_of(st.just(0), st.integers(30_000, 60_000)),
)


@settings(deadline=None)
@given(answers, st.lists(st.integers(1, 120_000), min_size=1, max_size=8))
@example(Answer("length", 150_000), [70_000])
@example(Answer("chunked", 150_000, 40_000), [33_000, 50_000])
@example(Answer("length", 150_000, is_followed=True), [149_000])
@example(Answer("length", 0, head_bytes=40_000), [120_000])
def test_the_same_is_told_of_any_bytes_in_any_pieces(given_answer: Answer, sizes: list[int]) -> None:
    answer = given_answer.sent()
    received, at, turn = [], 0, 0
    while at < len(answer):
        received.append(answer[at : at + sizes[turn % len(sizes)]])
        at, turn = at + len(received[-1]), turn + 1
    assert _told(h11, [*received, b""]) == _told(PLAIN, [*received, b""])


def test_a_large_piece_is_handed_over_as_it_came() -> None:
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(HEAD + b"Content-Length: 100000\r\n\r\n")
    assert isinstance(connection.next_event(), h11.Response)
    piece = bytes(90_000)
    connection.receive_data(piece)
    event = connection.next_event()
    assert isinstance(event, h11.Data)
    assert event.data is piece
