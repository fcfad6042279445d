"""The sockets below the HTTP client: every byte, in order, with and without TLS, and the system's errors by name."""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpcore2
import pytest

from generation.egress import sockets
from generation.egress.sockets import PIECE_BYTES, SocketBackend, SocketStream
from tests.certificates import contexts

Play = Callable[[socket.socket], None]
HOST = "127.0.0.1"
BODY = random.Random(8).randbytes(11_000_003)


@contextmanager
def serving(play: Play, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """The port of a listener that plays a script to its one guest."""

    def serve() -> None:
        with suppress(OSError):
            near, _ = listener.accept()
            near.settimeout(10)
            with tls.wrap_socket(near, server_side=True) if tls else near as ready:
                play(ready)

    with socket.create_server((HOST, 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
    thread.join(10)


async def connected(port: int, tls: ssl.SSLContext | None = None) -> SocketStream:
    stream = await SocketBackend().connect_tcp(HOST, port, timeout=5)
    if tls is not None:
        stream = await stream.start_tls(tls, HOST, timeout=5)
    assert isinstance(stream, SocketStream)
    return stream


def run(play: Play, talk: Callable[[SocketStream], Coroutine[Any, Any, Any]], tls: Any = None) -> Any:
    """What a talk with the other side's script comes to; `tls` are contexts of both sides, or of one."""
    server, client = tls or (None, None)

    async def whole(port: int) -> Any:
        stream = await connected(port, client)
        try:
            return await talk(stream)
        finally:
            await stream.aclose()

    with serving(play, server) as port:
        return asyncio.run(whole(port))


async def everything(stream: SocketStream) -> bytes:
    pieces = []
    while piece := await stream.read(PIECE_BYTES, timeout=10):
        pieces.append(piece)
    assert max(map(len, pieces)) <= PIECE_BYTES
    return b"".join(pieces)


def _sending(data: bytes, when: threading.Event) -> Play:
    def play(near: socket.socket) -> None:
        when.wait(10)
        near.sendall(data)

    return play


@pytest.fixture(params=["plain", "tls"])
def tls(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[ssl.SSLContext, ssl.SSLContext] | None:
    return contexts(HOST, tmp_path) if request.param == "tls" else None


def test_a_large_body_arrives_whole_and_then_its_end(tls: Any) -> None:
    assert run(lambda near: near.sendall(BODY), everything, tls) == BODY


def test_pieces_of_any_size_arrive_in_order(tls: Any) -> None:
    def play(near: socket.socket) -> None:
        chance, left = random.Random(9), BODY[:600_000]
        while left:
            size = chance.choice([1, 2, 3, 100, 5_000, 20_000, 70_000])
            near.sendall(left[:size])
            left = left[size:]

    assert run(play, everything, tls) == BODY[:600_000]


def test_what_is_sent_to_a_slow_reader_arrives_whole(tls: Any) -> None:
    received = bytearray()

    def play(near: socket.socket) -> None:
        while len(received) < len(BODY):
            received.extend(near.recv(30_000))
        near.sendall(b"thanks")

    async def talk(stream: SocketStream) -> bytes:
        await stream.write(BODY, timeout=20)
        return await stream.read(PIECE_BYTES, timeout=10)

    assert run(play, talk, tls) == b"thanks"
    assert received == BODY


def test_nothing_is_taken_from_the_kernel_before_somebody_reads(tls: Any) -> None:
    sent = threading.Event()

    def play(near: socket.socket) -> None:
        near.settimeout(2)
        with suppress(TimeoutError):
            # Far more than the kernel's buffers hold.
            near.sendall(BODY * 4)
            sent.set()

    async def talk(stream: SocketStream) -> None:
        await asyncio.sleep(1)
        assert not sent.is_set()

    run(play, talk, tls)


def test_the_more_are_read_at_once_the_smaller_their_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each may come before the first is taken, and the first did not know yet how many there would be."""
    monkeypatch.setattr(sockets, "PIECE_BYTES", 64_000)
    monkeypatch.setattr(sockets, "LEAST_PIECE_BYTES", 1_000)
    monkeypatch.setattr(sockets, "ROOM_BYTES", 80_000)
    count = 20

    def serve(listener: socket.socket) -> None:
        guests = [listener.accept()[0] for _ in range(count)]
        serving = [threading.Thread(target=hand_out, args=(near,), daemon=True) for near in guests]
        for thread in serving:
            thread.start()
        for thread in serving:
            thread.join(10)

    def hand_out(near: socket.socket) -> None:
        with near, suppress(OSError):
            near.sendall(BODY[:300_000])

    async def largest(stream: httpcore2.AsyncNetworkStream) -> int:
        return max([len(await stream.read(PIECE_BYTES, timeout=10)) for _ in range(5)])

    async def talk(port: int) -> tuple[int, int]:
        backend = SocketBackend()
        streams = [await backend.connect_tcp(HOST, port, timeout=5) for _ in range(count)]
        of_many = [asyncio.create_task(stream.read(PIECE_BYTES, timeout=10)) for stream in streams]
        await asyncio.wait(of_many)
        of_one = await largest(streams[0])
        for stream in streams:
            await stream.aclose()
        return len(of_many[-1].result()), of_one

    with socket.create_server((HOST, 0), backlog=count) as listener:
        server = threading.Thread(target=serve, args=(listener,), daemon=True)
        server.start()
        of_the_last, of_one = asyncio.run(talk(listener.getsockname()[1]))
        server.join(20)
    assert of_the_last <= 4_000 < of_one <= 64_000


def test_a_silent_side_is_a_read_timeout_and_the_connection_can_still_be_read(tls: Any) -> None:
    go_on = threading.Event()

    async def talk(stream: SocketStream) -> bytes:
        with pytest.raises(httpcore2.ReadTimeout):
            await stream.read(PIECE_BYTES, timeout=0.2)
        go_on.set()
        return await stream.read(PIECE_BYTES, timeout=10)

    assert run(_sending(b"late", go_on), talk, tls) == b"late"


def test_a_side_that_does_not_read_is_a_write_timeout(tls: Any) -> None:
    done = threading.Event()

    async def talk(stream: SocketStream) -> None:
        with pytest.raises(httpcore2.WriteTimeout):
            await stream.write(BODY * 4, timeout=0.5)
        done.set()

    run(lambda _: done.wait(20) and None, talk, tls)


def test_a_reset_is_an_error_for_who_reads_and_who_writes() -> None:
    def play(near: socket.socket) -> None:
        near.recv(4)
        near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    async def talk(stream: SocketStream) -> None:
        await stream.write(b"quit", timeout=5)
        with pytest.raises(httpcore2.ReadError):
            await stream.read(PIECE_BYTES, timeout=5)
        with pytest.raises(httpcore2.WriteError):
            await stream.write(b"more", timeout=5)

    run(play, talk)


def test_tls_that_breaks_off_ends_like_a_connection_that_is_closed(tmp_path: Path) -> None:
    """That the answer was cut off shows in HTTP, by its length; nothing of what came before is lost."""

    def play(near: socket.socket) -> None:
        near.sendall(b"the first half")
        # Below TLS, which is so never said good-bye to.
        socket.socket(fileno=near.detach()).close()

    assert run(play, everything, contexts(HOST, tmp_path)) == b"the first half"


def _below_tls(server: ssl.SSLContext, sent: bytes, spoil: Callable[[bytes], bytes]) -> Play:
    """Send this through TLS that is spoiled on the wire, in one go."""

    def play(near: socket.socket) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = server.wrap_bio(incoming, outgoing, server_side=True)
        is_ready = False
        while not is_ready:
            with suppress(ssl.SSLWantReadError):
                tls.do_handshake()
                is_ready = True
            near.sendall(outgoing.read())
            if not is_ready:
                incoming.write(near.recv(65536))
        for start in range(0, len(sent), 16_000):
            tls.write(sent[start : start + 16_000])
        near.sendall(spoil(outgoing.read()))

    return play


@pytest.mark.parametrize("spoiled", ["junk behind it", "a flipped bit"])
def test_tls_that_breaks_behind_some_bytes_is_an_error_once_they_are_taken_and_stays_one(
    tmp_path: Path, spoiled: str
) -> None:
    """An answer without a length would count as complete if what broke looked like its end."""
    sent = BODY[:40_000]

    def spoil(records: bytes) -> bytes:
        if spoiled == "junk behind it":
            return records + b"500 this is no TLS at all, and long enough to be looked at"
        return records[:-20] + bytes([records[-20] ^ 1]) + records[-19:]

    async def talk(stream: SocketStream) -> None:
        assert sent.startswith(await stream.read(PIECE_BYTES, timeout=5))
        for _ in range(3):
            with pytest.raises(httpcore2.ReadError):
                await stream.read(PIECE_BYTES, timeout=5)
        assert stream.get_extra_info("is_readable")

    server, client = contexts(HOST, tmp_path)
    run(_below_tls(server, sent, spoil), talk, (None, client))


def test_a_connection_that_was_closed_here_does_not_read_as_the_other_sides_end(tls: Any) -> None:
    done = threading.Event()

    async def talk(stream: SocketStream) -> None:
        reading = asyncio.create_task(stream.read(PIECE_BYTES))
        await asyncio.sleep(0.1)
        await stream.aclose()
        for read in (reading, stream.read(PIECE_BYTES)):
            with pytest.raises(httpcore2.ReadError):
                await read
        done.set()

    run(lambda _: done.wait(10) and None, talk, tls)


def test_a_tls_connection_keeps_nothing_of_what_was_read(tmp_path: Path) -> None:
    done = threading.Event()

    def play(near: socket.socket) -> None:
        near.sendall(BODY[:500_000])
        done.wait(10)

    async def talk(stream: SocketStream) -> None:
        left = 500_000
        while left:
            left -= len(await stream.read(PIECE_BYTES, timeout=10))
        source: Any = stream._source
        assert source._arrived.obj == b""
        assert not stream.get_extra_info("is_readable")
        done.set()

    run(play, talk, contexts(HOST, tmp_path))


def test_an_idle_connection_whose_tls_has_ended_is_readable_before_it_is_closed(tmp_path: Path) -> None:
    done = threading.Event()

    def play(near: socket.socket) -> None:
        assert isinstance(near, ssl.SSLSocket)
        near.sendall(b"answer")
        near.settimeout(0.2)
        with suppress(OSError):
            near.unwrap()
        done.wait(10)

    async def talk(stream: SocketStream) -> None:
        assert await stream.read(PIECE_BYTES, timeout=10) == b"answer"
        for _ in range(500):
            if stream.get_extra_info("is_readable"):
                done.set()
                return
            await asyncio.sleep(0.01)
        raise AssertionError("nobody noticed")

    run(play, talk, contexts(HOST, tmp_path))


def test_an_idle_connection_is_readable_once_the_other_side_has_closed_it(tls: Any) -> None:
    close = threading.Event()

    def play(near: socket.socket) -> None:
        near.sendall(b"answer")
        close.wait(10)

    async def talk(stream: SocketStream) -> None:
        assert await stream.read(PIECE_BYTES, timeout=10) == b"answer"
        assert not stream.get_extra_info("is_readable")
        close.set()
        for _ in range(500):
            if stream.get_extra_info("is_readable"):
                return
            await asyncio.sleep(0.01)
        raise AssertionError("nobody noticed")

    run(play, talk, tls)


def test_whom_it_is_connected_to_is_said(tmp_path: Path) -> None:
    done = threading.Event()

    async def talk(stream: SocketStream) -> None:
        assert stream.get_extra_info("server_addr")[0] == HOST
        assert stream.get_extra_info("client_addr") == stream.get_extra_info("socket").getsockname()
        assert stream.get_extra_info("ssl_object").version() == "TLSv1.3"
        assert stream.get_extra_info("color") is None
        done.set()

    run(lambda _: done.wait(10) and None, talk, contexts(HOST, tmp_path))


def test_options_and_the_near_address_are_those_asked_for() -> None:
    async def talk(port: int) -> tuple[int, str]:
        option = (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        stream = await SocketBackend().connect_tcp(HOST, port, 5, local_address="127.0.0.2", socket_options=[option])
        kept = stream.get_extra_info("socket").getsockopt(*option[:2])
        address = stream.get_extra_info("client_addr")[0]
        await stream.aclose()
        return kept, address

    with serving(lambda near: None) as port:
        assert asyncio.run(talk(port)) == (1, "127.0.0.2")


def test_a_closed_port_and_names_that_are_none_are_errors_of_connecting() -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
    places = [(host, port) for host in (HOST, "upstream.invalid", "x" * 300, "a..b", "a\0b")]
    for place in (*places, (HOST, 0), (HOST, 70_000), ("localhost", 65_536 + port)):
        with pytest.raises(httpcore2.ConnectError):
            asyncio.run(SocketBackend().connect_tcp(*place, timeout=5))


def test_an_option_the_system_does_not_know_is_an_error_of_connecting_and_leaves_nothing_open() -> None:
    with serving(lambda near: None) as port, pytest.raises(httpcore2.ConnectError):
        asyncio.run(SocketBackend().connect_tcp(HOST, port, timeout=5, socket_options=[(socket.SOL_SOCKET, 9999, 1)]))


@pytest.mark.parametrize("name", ["", ".x", "a..b", "x" * 70])
def test_a_name_no_certificate_can_have_is_an_error_of_connecting(tmp_path: Path, name: str) -> None:
    async def secured(port: int) -> None:
        stream = await connected(port)
        await stream.start_tls(ssl.create_default_context(), name, timeout=5)

    with serving(lambda near: near.recv(1) and None) as port, pytest.raises(httpcore2.ConnectError):
        asyncio.run(secured(port))


def test_a_full_listener_is_a_connect_timeout() -> None:
    async def knock(port: int) -> None:
        await SocketBackend().connect_tcp(HOST, port, timeout=0.3)

    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind((HOST, 0))
        listener.listen(0)
        for each in (first, second):
            each.setblocking(False)
            each.connect_ex(listener.getsockname())
        with pytest.raises(httpcore2.ConnectTimeout):
            asyncio.run(knock(listener.getsockname()[1]))


def test_a_certificate_nobody_trusts_is_an_error_of_connecting(tmp_path: Path) -> None:
    server, _ = contexts(HOST, tmp_path)
    with serving(lambda near: None, server) as port, pytest.raises(httpcore2.ConnectError, match="certificate"):
        asyncio.run(connected(port, ssl.create_default_context()))


def test_a_side_that_speaks_no_tls_is_an_error_of_connecting(tmp_path: Path) -> None:
    _, client = contexts(HOST, tmp_path)
    with serving(lambda near: near.sendall(b"220 mail ready\r\n")) as port, pytest.raises(httpcore2.ConnectError):
        asyncio.run(connected(port, client))


def test_a_canceled_read_leaves_the_next_one_what_comes(tls: Any) -> None:
    go_on = threading.Event()

    async def talk(stream: SocketStream) -> bytes:
        reading = asyncio.create_task(stream.read(PIECE_BYTES))
        await asyncio.sleep(0.1)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        go_on.set()
        return await stream.read(PIECE_BYTES, timeout=10)

    assert run(_sending(b"kept", go_on), talk, tls) == b"kept"
